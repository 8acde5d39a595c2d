"""Ctrl-C stops a command in order, a second one at once, and none shows a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import REPOSITORY
from tests.service.tiny_bundle import dark_square, picture_bytes

START = "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"


def start(code: str, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START + code, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    "moment",
    [
        f"main.app = lambda: {CTRL_C}",
        f"predict.read_settings = lambda **_: {CTRL_C}; predict.typer.echo = lambda *_, **__: {CTRL_C}",
        f"predict.read_settings = lambda **_: {CTRL_C}; predict.typer.Exit = lambda *_: {CTRL_C}",
    ],
)
def test_ctrl_c_outside_of_the_work(picture: Path, moment: str) -> None:
    """Before the command's own handling has begun, and again while it is stopped."""
    code = f"from service.cli import main, predict; from service.cli.__main__ import main as cin\n{moment}\ncin()"
    process = start(code, "predict", picture)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert said in ("", "cin: stopped\n")


def test_ctrl_c_once_before_anything_has_begun(picture: Path) -> None:
    code = f"""
from service.cli import predict
from service.cli.__main__ import main
predict.read_settings = lambda **_: {CTRL_C}
main()
"""
    process = start(code, "predict", picture)
    said = process.communicate(timeout=60)
    assert (process.returncode, *said) == (130, "", "cin: stopped\n")


def test_the_second_ends_a_command_that_cannot_stop(environment: dict[str, str], picture: Path) -> None:
    """As one that waits for a file on a server that went away."""
    code = """
from service.cli import one_process
from service.cli.__main__ import main
one_process.read_location = lambda *_: (print("reading", flush=True), time.sleep(60))
main()
"""
    process = start(code, "predict", "--json", picture, **environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT
    assert said == ("", "")


@pytest.mark.parametrize("gap", [0.0, 0.02, 0.1])
def test_twice_in_the_middle(environment: dict[str, str], tmp_path: Path, gap: float) -> None:
    for i in range(100):
        (tmp_path / f"{i:03}.png").write_bytes(picture_bytes(dark_square(start=i % 32)))
    out = tmp_path / "results.csv"
    code = "from service.cli.__main__ import main; main()"
    process = start(code, "predict", tmp_path, "--out", out, **environment)
    while process.poll() is None and (not out.exists() or out.stat().st_size < 5_000):
        time.sleep(0.002)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(gap)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert said in ("", "cin: stopped; repeat the command to resume\n")
