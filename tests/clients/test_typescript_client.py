"""The types that openapi-typescript generates, compiled strictly, against the running service."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.clients.conftest import TOOLS, tool
from tests.page.browsing import Server
from tests.paths import REPOSITORY
from tests.service.tiny_bundle import dark_square, picture_bytes

pytestmark = pytest.mark.xdist_group("clients")

EXAMPLE = REPOSITORY / "service" / "web" / "examples" / "ISIC_0001140.jpg"
_COMPILE = ("--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "--skipLibCheck")


@pytest.fixture(scope="module")
def program(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client; any complaint of generator or compiler fails the test."""
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copy(REPOSITORY / "tests" / "clients" / "client.ts", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(TOOLS.parent)
    made = subprocess.run(
        [tool("openapi-typescript"), str(schema), "--output", str(folder / "schema.ts")], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "warn" not in (made.stdout + made.stderr).lower(), made.stdout + made.stderr
    compiled = subprocess.run([tool("tsc"), *_COMPILE, "client.ts"], cwd=folder, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stdout
    return folder / "client.js"


def run(program: Path, server: Server, key: str, *pictures: Path) -> list[dict[str, Any]]:
    """What the client printed."""
    command = ["node", str(program), server.url, key, *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_answer_refusal_and_abstention(program: Path, server: Server, key: str, tmp_path: Path) -> None:
    letter, dark = tmp_path / "letter.pdf", tmp_path / "dark.png"
    letter.write_bytes(b"%PDF-1.7 a letter")
    dark.write_bytes(picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2))))
    answer, again, refused, abstained, _ = run(program, server, key, EXAMPLE, letter, dark)
    assert answer["status"] == 201
    assert isinstance(answer["refer"], bool)
    assert answer["diagnosis"]
    assert again == {"point": "high-sensitivity", "prevalence": 0.05}
    assert (refused["status"], refused["kind"]) == (415, "urn:cin:problem:unsupported-type")
    assert "PDF" in refused["detail"]
    assert (abstained["status"], abstained["advice"]) == (201, "abstained")
    assert (abstained["refer"], abstained["diagnosis"]) == (None, None)


def test_a_typed_rate_limit(program: Path, slow_server: Server, key: str, tmp_path: Path) -> None:
    picture = tmp_path / "lesion.png"
    picture.write_bytes(picture_bytes(dark_square()))
    *_, limited = run(program, slow_server, key, picture, picture)
    assert (limited["status"], limited["kind"]) == (429, "urn:cin:problem:rate-limited")
