"""The ``cin`` command in this process, and what it works on."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.bundle import Bundle
from service.cli.main import app
from tests.service.tiny_bundle import dark_square, picture_bytes


def cin(*arguments: str | Path, **environment: str) -> Result:
    """Run one command to its end."""
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)


@pytest.fixture
def environment(tiny_bundle: Bundle) -> dict[str, str]:
    return {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_PROVIDER": "cpu", "CIN_INFERENCE_THREADS": "1"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven different images in a folder and one below it, and files that are no images."""
    folder = tmp_path / "archive"
    (folder / "below").mkdir(parents=True)
    for i in range(7):
        name = f"below/{i}.PNG" if i % 2 else f"{i}.png"
        (folder / name).write_bytes(picture_bytes(dark_square(start=4 * i)))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "lesion.png"
    path.write_bytes(picture_bytes(dark_square()))
    return path
