"""Transactions before judges that are not ours: a validator of FHIR R4, and a server that carries them out."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.fhir.transaction import transaction
from tests.clients.conftest import program
from tests.page.browsing import Server
from tests.service.fhir.logs import events_of, used_log
from tests.service.fhir.predictions import CLASSES, abstained, prediction, resource_of
from tests.service.tiny_bundle import dark_square, picture_bytes, write_tiny_bundle

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("clients")]

Json = dict[str, Any]
KINDS = {"Device", "DocumentReference", "Observation", "DiagnosticReport", "Provenance"}
ABSTAINED = Image.new("RGB", (256, 256), (4, 2, 2))


def faults(*resources: Json) -> list[list[str]]:
    """What the validator finds in each resource: errors, and members that FHIR does not know."""
    command = program("fhir_validate.cjs", "fhir")
    lines = "".join(f"{json.dumps(resource)}\n" for resource in resources)
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def fhir_server() -> Iterator[httpx.Client]:
    """An empty FHIR server."""
    command = program("fhir_server.cjs", "@medplum/core", "@medplum/fhir-router")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60) as client:
                yield client
        finally:
            process.kill()


def predicted(server: Server, key: str, image: Image.Image, **query: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/fhir+json"}
    form = {"image": picture_bytes(image)}
    sent = httpx.post(f"{server.url}/v1/predictions", files=form, headers=headers, params=query, timeout=60)
    return sent.raise_for_status()


def kept(fhir_server: httpx.Client) -> dict[str, list[Json]]:
    """The resources on the server, by type, without what the server adds."""
    found: dict[str, list[Json]] = {}
    for kind in sorted(KINDS):
        entries = fhir_server.get(f"/{kind}").raise_for_status().json().get("entry", [])
        found[kind] = [entry["resource"] for entry in entries]
        for resource in found[kind]:
            for added in ("versionId", "lastUpdated"):
                del resource["meta"][added]
    return found


def test_the_validator_finds_two_planted_faults_and_none_of_ours(server: Server, key: str) -> None:
    ours = [predicted(server, key, image, subject="Patient/123").json() for image in (dark_square(), ABSTAINED)]
    reasons = ["not_sure", "near_threshold", "several_lesions"]
    ours += [transaction(of, CLASSES, "# Card\n") for of in (prediction(reasons=reasons), abstained())]
    ours.append(
        httpx.get(f"{server.url}/openapi.json").json()["components"]["schemas"]["FhirTransaction"]["examples"][0]
    )
    assert faults(*ours) == [[]] * 5
    planted = copy.deepcopy(ours[0])
    resource_of(planted, "Observation")["status"] = "nonsense"
    resource_of(planted, "DiagnosticReport")["imagingstudy"] = 1
    (found,) = faults(planted)
    assert len(found) == 2
    assert "nonsense" in found[0]
    assert "imagingstudy" in found[1]


def test_a_server_that_gets_it_twice_has_one_of_each(server: Server, key: str, fhir_server: httpx.Client) -> None:
    body = predicted(server, key, dark_square(), subject="Patient/123")
    states = []
    for _ in range(2):
        done = fhir_server.post("/", content=body.content, headers={"Content-Type": body.headers["content-type"]})
        assert done.json()["type"] == "transaction-response", done.text
        assert {entry["response"]["status"] for entry in done.json()["entry"]} <= {"200", "201"}
        states.append(kept(fhir_server))
    assert states[0] == states[1]
    assert {kind: len(resources) for kind, resources in states[0].items()} == dict.fromkeys(KINDS, 1)
    (report,), (observation,) = states[0]["DiagnosticReport"], states[0]["Observation"]
    assert report["result"] == [{"reference": f"Observation/{observation['id']}"}]
    assert report["subject"] == observation["subject"] == {"reference": "Patient/123"}
    assert fhir_server.get(f"/{observation['device']['reference']}").status_code == 200
    assert observation == _referring(resource_of(body.json(), "Observation"), body.json())
    # Another image: its own results, of the same model.
    more = predicted(server, key, ABSTAINED, subject="Patient/123")
    fhir_server.post("/", content=more.content, headers={"Content-Type": more.headers["content-type"]})
    twice = {"Observation", "DiagnosticReport", "Provenance"}
    assert {kind: len(found) for kind, found in kept(fhir_server).items()} == {k: 1 + (k in twice) for k in KINDS}


def test_the_validator_finds_nothing_in_an_audit_log(tmp_path: Path) -> None:
    events = events_of(used_log(write_tiny_bundle(tmp_path / "tiny"), tmp_path))
    assert faults(*events) == [[]] * len(events)
    (found,) = faults(events[0] | {"outcome": "fine"})
    assert found


def _referring(resource: Json, bundle: Json) -> Json:
    """The resource with references to the server's resources in the place of those to entries."""
    text = json.dumps(resource)
    for entry in bundle["entry"]:
        text = text.replace(entry["fullUrl"], entry["request"]["url"])
    replaced: Json = json.loads(text)
    return replaced
