"""Errors and warnings that every command gives alike."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.paths import REPOSITORY
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
        env={**chosen, "PYTHONPATH": str(REPOSITORY)},
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


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_the_libraries_are_loaded(ignored: bool) -> None:
    """The process ends without a word, unless a shell's background ignores Ctrl-C."""
    code = f"""
import os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
signal.signal(signal.SIGINT, signal.{"SIG_IGN" if ignored else "default_int_handler"})
from service.cli.__main__ import main
main()
"""
    process = subprocess.run(
        [sys.executable, "-c", code, "predict", "--help"],
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0 if ignored else -signal.SIGINT, "")
