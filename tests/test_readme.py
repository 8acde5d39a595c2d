"""Every command in the README works as printed, but for the port and the picture. Training's are in tests/training."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service.bundle import Bundle
from tests.conftest import REPOSITORY
from tests.readme import readme_commands, training_commands

SERVE, TEST = "make serve", "make test"
CURL = "curl -F image=@lesion.jpg localhost:8000/predict"
BENCH = ("make bench", 'make bench BENCH="--seconds 2 --only ours"')
TORTURE = ("make torture TORTURE=--short", "make torture")
GPU = "make gpu"
UP, DOWN = "make up", "make down"
REPRODUCE = ('make reproduce REPRODUCE="--table 1 --plan"', "make reproduce")
CIN = (
    ".venv/bin/cin predict lesion.jpg",
    ".venv/bin/cin predict lesion.jpg --json --overlay overlays",
    ".venv/bin/cin predict archive --out results.csv",
    ".venv/bin/cin bundle verify service/bundles/cin-isic2017",
)


@pytest.fixture
def lesion(tmp_path: Path, shipped_bundle: Bundle) -> Path:
    """A dermoscopy picture called lesion.jpg in the working directory, and an archive beside it that holds it too."""
    picture = shipped_bundle.path(shipped_bundle.manifest.canary.picture)
    (tmp_path / "archive").mkdir()
    shutil.copy(picture, tmp_path / "archive")
    return Path(shutil.copy(picture, tmp_path / "lesion.jpg"))


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``make serve`` on a free port: the port and the process."""
    if not (REPOSITORY / ".venv" / ".serve-ready").exists():
        pytest.skip("there is no .venv yet; make test makes it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CIN_")}
    environment["CIN_PORT"] = str(port)
    # A process group of its own, which gets what a terminal would send to make and the service alike.
    process = subprocess.Popen(
        SERVE.split(), cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        for _ in range(300):
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, "make serve ended"
                time.sleep(0.1)
        yield port, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_no_command_is_left_out() -> None:
    assert set(readme_commands()) == {
        SERVE,
        TEST,
        CURL,
        *REPRODUCE,
        *BENCH,
        *TORTURE,
        GPU,
        UP,
        DOWN,
        *CIN,
        *training_commands(),
    }


def test_make_serve_and_curl(served: tuple[int, subprocess.Popen[bytes]], lesion: Path) -> None:
    port, process = served
    command = CURL.replace("8000", str(port)).split()
    answer = json.loads(subprocess.run([*command, "-s"], cwd=lesion.parent, capture_output=True, check=True).stdout)
    assert answer["diagnosis"] in answer["probabilities"]
    overlay = httpx.get(f"http://127.0.0.1:{port}{answer['attention']['correlation']}")
    assert overlay.headers["content-type"] == "image/png"
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert f"http://127.0.0.1:{port}/docs" in output.decode(), "it says where to look next"


@pytest.mark.parametrize("command", CIN)
def test_cin(command: str, lesion: Path) -> None:
    words = command.replace(".venv/bin/cin", str(Path(sys.executable).with_name("cin"))).split()
    words = [str(REPOSITORY / word) if word.startswith("service/") else word for word in words]
    done = subprocess.run(words, cwd=lesion.parent, capture_output=True, text=True, check=True)
    if "--json" in words:
        assert json.loads(done.stdout)["picture"] == "lesion.jpg"
        assert sorted(path.name for path in (lesion.parent / "overlays").iterdir()) == [
            f"lesion-{kind}.png" for kind in ("correlation", "lesion", "spatial")
        ]
    elif "--out" in words:
        assert len((lesion.parent / "results.csv").read_text().splitlines()) == 2
    else:
        assert done.stdout


def test_make_test_runs_linters_types_and_tests() -> None:
    planned = subprocess.run([*TEST.split(), "-n"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for tool in ("ruff check", "ruff format --check", "mypy", "-m pytest"):
        assert tool in planned


@pytest.mark.parametrize("command", BENCH)
def test_make_bench_calls_the_benchmark(command: str) -> None:
    words = [*shlex.split(command), "-n"]
    planned = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    options = "--seconds 2 --only ours" if "ours" in command else ""
    expected = f"exec .venv-bench/bin/python -m tests.benchmarks {options}".strip()
    assert expected in [line.strip() for line in planned.splitlines()]


@pytest.mark.parametrize("command", TORTURE)
def test_make_torture_calls_the_torture(command: str) -> None:
    words = [*shlex.split(command), "-n"]
    planned = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    expected = f"exec .venv/bin/python -m tests.torture {'--short' if '--short' in command else ''}".strip()
    assert expected in [line.strip() for line in planned.splitlines()]


def test_the_benchmark_runs_without_the_other_servers(tmp_path: Path) -> None:
    brief = ["--seconds", "0.5", "--only", "ours", "--out", str(tmp_path / "bench.json")]
    command = [sys.executable, "-m", "tests.benchmarks", *brief]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=180)
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result["systems"]["ours"]["workloads"]["1024x768"]["many"]["errors"] == 0
    assert result["ratios"]["seconds to ready"]["value"] > 0
    assert "| ours | 1024x768 |" in (tmp_path / "bench.md").read_text()


def test_make_gpu_goes_from_training_to_the_benchmark() -> None:
    planned = subprocess.run([*GPU.split(), "-n"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    steps = [line.split("bin/", 1)[1] for line in planned.splitlines() if line.startswith((".venv/bin", "CIN_"))]
    run = "--config model_training/configs/isic2017.toml --run runs/gpu"
    assert [" ".join(step.split()) for step in steps] == [
        *(f"cin-train {stage} {run}" for stage in ("area", "recognition", "evaluate")),
        f"cin-train export {run} --out runs/gpu/bundle",
        "cin bundle verify runs/gpu/bundle --provider cuda",
        "python -m pytest -m gpu",
        "python -m tests.benchmarks --provider cuda --only ours",
    ]


@pytest.mark.parametrize("command", REPRODUCE)
def test_make_reproduce_calls_the_command(command: str) -> None:
    words = [*shlex.split(command), "-n"]
    planned = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    expected = "bin/cin-train reproduce --config model_training/configs/isic2017.toml --results results/protocol"
    planned = " ".join(planned.split())
    assert f"{expected} --table 1 --plan" in planned if "--plan" in command else expected in planned


def test_make_up_and_down_call_compose() -> None:
    for command, called in ((UP, "up --detach --build"), (DOWN, "down")):
        planned = subprocess.run([*command.split(), "-n"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert re.search(rf"docker.compose {called}", planned.stdout)
