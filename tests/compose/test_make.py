"""What make does for the stack, without starting it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.paths import REPOSITORY


def make(*arguments: str, folder: Path) -> str:
    command = ["make", "--no-print-directory", "-f", str(REPOSITORY / "Makefile"), *arguments]
    # What is there goes before what is installed.
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("driver", [False, True])
def test_every_command_means_the_service_that_make_up_started(tmp_path: Path, driver: bool) -> None:
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env.example").write_text(example)
    programs = {
        "bin/docker": 'echo "$COMPOSE_PROFILES: $*"',
        "bin/nvidia-smi": "echo GPU 0" if driver else "exit 1",
        "docker/upgrade.sh": 'echo "$1"',
    }
    for name, script in programs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    make(".env", folder=tmp_path)
    written = set((tmp_path / ".env").read_text().splitlines())
    on_gpu = {"COMPOSE_PROFILES=dashboards,gpu", "SERVICE_REPLICAS=0"}
    assert written - set(example.splitlines()) == (on_gpu if driver else set())
    assert make("upgrade", folder=tmp_path) == ("service-gpu\n" if driver else "service\n")
    assert "dashboards,gpu,pacs: compose down" in make("down", folder=tmp_path)


def test_make_makes_a_password_once_that_others_on_this_machine_cannot_read(tmp_path: Path) -> None:
    password = tmp_path / "docker" / "secrets" / "grafana-password"
    (tmp_path / ".env.example").write_text("A=1\n")
    make("docker/secrets/grafana-password", ".env", folder=tmp_path)
    first = password.read_text()
    assert len(first) == 48
    assert int(first, 16) > 0
    assert password.parent.stat().st_mode & 0o077 == 0
    assert (tmp_path / ".env").read_text() == "A=1\n"
    (tmp_path / ".env").write_text("A=2\n")
    make("docker/secrets/grafana-password", ".env", folder=tmp_path)
    assert password.read_text() == first
    assert (tmp_path / ".env").read_text() == "A=2\n"
    password.unlink()
    make("docker/secrets/grafana-password", folder=tmp_path)
    assert password.read_text() != first
