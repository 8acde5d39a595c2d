"""Every command of the documentation works as printed. Those that train are in tests/model_training/cli, those that
generate clients in tests/clients."""

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
import yaml
from typer.testing import CliRunner

from model_training.cli.main import app as cin_train
from service.bundle import Bundle
from service.cli.main import app as cin
from tests.documented import documented_commands, kind_of
from tests.paths import REPOSITORY
from tests.service.dicom.results import photograph

pytestmark = pytest.mark.integration

CIN = str(Path(sys.executable).with_name("cin"))
PORT = re.compile(r"(localhost|127\.0\.0\.1):8000")


@pytest.fixture
def folder(tmp_path: Path, shipped_bundle: Bundle) -> Path:
    """A working directory like the repository's, with an image, an archive of one, and a DICOM file."""
    picture = shipped_bundle.path(shipped_bundle.manifest.canary.picture)
    (tmp_path / "service").symlink_to(REPOSITORY / "service")
    (tmp_path / "archive").mkdir()
    shutil.copy(picture, tmp_path / "archive")
    shutil.copy(picture, tmp_path / "lesion.jpg")
    (tmp_path / "lesion.dcm").write_bytes(photograph())
    return tmp_path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``make serve`` on a free port: the port and the process."""
    if not (REPOSITORY / ".venv" / ".serve-ready").exists():
        pytest.skip("there is no .venv yet; make test makes it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CIN_")}
    environment |= {"CIN_PORT": str(port), "CIN_LEDGER": str(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")}
    # A process group of its own, which gets what a terminal would send to make and the service alike.
    process = subprocess.Popen(
        ["make", "serve"], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        for _ in range(600):
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


def planned(*words: str) -> str:
    """What make would run."""
    return subprocess.run(
        ["make", "--dry-run", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


def run_curl(command: str, folder: Path, port: int) -> None:
    for name in re.findall(r"@([\w.-]+)", command):
        if not (folder / name).exists():
            shutil.copy(folder / "lesion.jpg", folder / name)
    words = [PORT.sub(rf"\g<1>:{port}", word) for word in shlex.split(command)]
    done = subprocess.run([*words, "--silent", "--fail-with-body"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    if written := re.search(r" -o (\S+)", command):
        assert b"DICM" in (folder / written[1]).read_bytes()
    else:
        assert json.loads(done.stdout)


def run_cin(command: str, folder: Path) -> None:
    if command.startswith("CIN_KEYS=") and " keys create " not in command:
        run_cin(f"{command.partition(' ')[0]} .venv/bin/cin keys create clinic-0", folder)
    if " results " in command:
        for i in (1, 2, 3):
            run_cin(f".venv/bin/cin predict archive --shard {i}/3 --out part-{i}.jsonl", folder)
    words = command.replace(".venv/bin/cin ", f"{shlex.quote(CIN)} ")
    done = subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for written in re.findall(r"--(?:out|overlay) (\S+)", command):
        assert (folder / written).exists()


def is_known(program: str, *words: str) -> None:
    """The program accepts these arguments: it would print their help."""
    result = CliRunner().invoke({"cin": cin, "cin-train": cin_train}[program], [*words, "--help"])
    assert result.exit_code == 0, result.output


def plan_make(command: str) -> None:
    """The target is there, and so are the programs that it calls."""
    plan = planned(*shlex.split(command)[1:])
    assert plan
    for module in re.findall(r"python -m (tests\.\w+)", plan):
        assert (REPOSITORY / module.replace(".", "/")).is_dir(), module
    for program, *words in (shlex.split(line) for line in plan.splitlines() if line.startswith(".venv/bin/cin")):
        is_known(Path(program).name, *words)


def plan_compose(command: str) -> None:
    """The service is there, and its program knows the command."""
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    action, *words = shlex.split(command)[2:]
    assert action in ("build", "down", "exec", "run", "up")
    if action in ("exec", "run"):
        name, *called = [word for word in words if word not in ("--rm", "-T")]
        assert name in services
        called = shlex.split(called[2]) if called[:2] == ["sh", "-c"] else called
        is_known("cin", *(called[1:3] if called[0] == "cin" else [*services[name]["entrypoint"][1:], called[0]]))


@pytest.mark.parametrize("command", [c for c in documented_commands() if kind_of(c) not in ("train", "client")])
def test_a_documented_command(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    kind = kind_of(command)
    if kind == "curl":
        run_curl(command, folder, request.getfixturevalue("served")[0])
    elif kind == "cin":
        run_cin(command, folder)
    elif kind == "make":
        plan_make(command)
    elif kind == "compose":
        plan_compose(command)
    elif kind == "helm":  # with a cluster; what it renders is in tests/helm
        named = [REPOSITORY / word for word in shlex.split(command) if word.startswith("docker/")]
        assert named
        assert all(path.exists() for path in named)
    else:
        assert kind == "shell", "nothing here runs it"
        subprocess.run(command, shell=True, cwd=folder, check=True)


def test_ctrl_c_ends_what_make_serve_started(served: tuple[int, subprocess.Popen[bytes]]) -> None:
    port, process = served
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert f"http://127.0.0.1:{port}/docs" in output.decode(), "it says where to look next"
