"""The client that openapi-python-client generates, against the running service."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from io import BytesIO
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from tests.documented import commands_of
from tests.page.browsing import Server
from tests.paths import REPOSITORY
from tests.service.tiny_bundle import dark_square, picture_bytes

pytestmark = pytest.mark.xdist_group("clients")

EXAMPLE = REPOSITORY / "service" / "web" / "examples" / "ISIC_0001140.jpg"


@pytest.fixture(scope="module")
def package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that the documented command generates; whatever its generator had to say fails the test."""
    out = tmp_path_factory.mktemp("python") / "client"
    places = {"http://localhost:8000/openapi.json": f"{server.url}/openapi.json", "cin_client": str(out / "cin_client")}
    (documented,) = commands_of("client")
    _, *words = (places.get(word, word) for word in shlex.split(documented))
    made = subprocess.run([sys.executable, *words, "--fail-on-warning"], cwd=REPOSITORY, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "warning" not in (made.stdout + made.stderr).lower(), made.stdout + made.stderr
    sys.path.insert(0, str(out))
    yield importlib.import_module("cin_client")
    sys.path.remove(str(out))


def send(package: ModuleType, server: Server, key: str, picture: bytes) -> Any:
    """The detailed response to one image as a form."""
    api = importlib.import_module("cin_client.api.predictions.create_prediction")
    models, types = (importlib.import_module(f"cin_client.{name}") for name in ("models", "types"))
    client = package.AuthenticatedClient(base_url=server.url, token=key)
    file = types.File(payload=BytesIO(picture), file_name="lesion.jpg", mime_type="image/jpeg")
    return api.sync_detailed(client=client, body=models.CreatePredictionFilesBody(image=file))


def test_a_real_picture(package: ModuleType, server: Server, key: str) -> None:
    answer = send(package, server, key, EXAMPLE.read_bytes())
    assert answer.status_code == HTTPStatus.CREATED, answer.content
    models = importlib.import_module("cin_client.models")
    assert isinstance(answer.parsed, models.Prediction)
    assert isinstance(answer.parsed.diagnosis, models.Diagnosis)
    assert isinstance(answer.parsed.decision.refer, bool)
    read = importlib.import_module("cin_client.api.predictions.get_prediction")
    client = package.AuthenticatedClient(base_url=server.url, token=key)
    at = models.OperatingPointName("high-sensitivity")
    again = read.sync(answer.parsed.id, client=client, operating_point=at, prevalence=0.05)
    assert isinstance(again, models.Prediction)
    assert (again.decision.operating_point, again.decision.prevalence) == (at, 0.05)


def test_a_typed_refusal(package: ModuleType, server: Server, key: str) -> None:
    answer = send(package, server, key, b"%PDF-1.7 a letter")
    assert answer.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert answer.parsed.type_.value == "urn:cin:problem:unsupported-type"
    assert "PDF" in answer.parsed.detail


def test_a_typed_rate_limit(package: ModuleType, slow_server: Server, key: str) -> None:
    answers = [send(package, slow_server, key, picture_bytes(dark_square())) for _ in range(2)]
    assert answers[-1].status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert answers[-1].parsed.type_.value == "urn:cin:problem:rate-limited"
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_typed_abstention(package: ModuleType, server: Server, key: str) -> None:
    answer = send(package, server, key, picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2)))).parsed
    models = importlib.import_module("cin_client.models")
    assert answer.decision.status is models.DecisionBodyStatus.ABSTAINED
    assert answer.decision.abstained_because
    assert [answer.diagnosis, answer.probabilities, answer.branches, answer.decision.refer] == [None] * 4
