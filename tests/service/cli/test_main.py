"""Errors and warnings that every command gives alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.service.cli.conftest import cin


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"CIN_BUNDLE": "/nowhere"}, "not a folder"),
        ({"CIN_PORT": "http"}, "CIN_PORT"),
        ({"CIN_OPERATING_POINT": "perfect"}, "perfect"),
        ({"CIN_VARIANT": "int8"}, "int8"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "serve"])
def test_what_is_wrong_is_said_in_one_line(
    tiny_bundle: Bundle, picture: Path, command: str, environment: dict[str, str], word: str
) -> None:
    chosen = {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_PORT": "0", "CIN_PROVIDER": "cpu", **environment}
    arguments = [command, str(picture)] if command == "predict" else [command]
    process = subprocess.run(
        [sys.executable, "-c", "from service.cli.main import main; main()", *arguments],
        env={**chosen, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("cin: ")
    assert word in line
    assert process.stdout == ""


def test_a_misspelt_setting_is_noticed(environment: dict[str, str], picture: Path) -> None:
    result = cin("predict", picture, **environment, CIN_PROT="9000")
    assert result.exit_code == 0
    assert "CIN_PROT is no setting" in result.stderr
