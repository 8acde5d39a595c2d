"""Several processes, started by the standard launcher, train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import REPOSITORY
from tests.model_training.small_runs import run_small

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.model_training.small_runs")


def launch_two(stage: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The small run on two processes, on the loopback interface."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *LAUNCH, stage, str(folder), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", ["area", "recognition-without-dropout"])
def test_two_processes_have_the_loss_curve_of_one(stage: str, tmp_path: Path) -> None:
    """Dropout is left out: each process draws its own."""
    run_small(stage, tmp_path / "one")
    done = launch_two(stage, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = metrics_of(tmp_path / "one"), metrics_of(tmp_path / "two")
    assert [line["epoch"] for line in two] == [0, 1]
    for first, second in zip(one, two, strict=True):
        for name in ("loss", "learning_rate"):
            assert second[name] == pytest.approx(first[name], rel=1e-4), name
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two")]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-4, rtol=1e-3)


def test_two_processes_go_on_after_an_interruption(tmp_path: Path) -> None:
    whole = launch_two("area", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr[-3000:]
    stopped = launch_two("area", tmp_path / "parts", "5", "SIGTERM")
    assert stopped.returncode != 0
    assert "to resume" in stopped.stderr
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    resumed = launch_two("area", tmp_path / "parts")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    done = launch_two("area-batch-of-three", tmp_path)
    assert done.returncode != 0
    assert "set area.batch_size to a multiple of 2" in done.stderr
