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
from torch.distributed.run import get_args_parser

from model_training.training.run_folder import RunFolder
from model_training.training.trainer import TrainingError
from tests.model_training.small_runs import run_small
from tests.paths import REPOSITORY

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.model_training.small_runs")


def launch_two(stage: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The small run on two processes, on the loopback interface."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *LAUNCH, stage, str(folder), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", params=["area-slow", "recognition-without-dropout"])
def trained_by_two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A stage, and its run; dropout is left out, since each process draws its own."""
    stage: str = request.param
    folder = tmp_path_factory.mktemp("two")
    done = launch_two(stage, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return stage, folder


def test_two_processes_have_the_loss_curve_of_one(trained_by_two: tuple[str, Path], tmp_path: Path) -> None:
    stage, by_two = trained_by_two
    run_small(stage, tmp_path)
    one, two = metrics_of(tmp_path), metrics_of(by_two)
    assert [line["epoch"] for line in two] == list(range(len(one)))
    assert len(one) > 1
    for first, second in zip(one, two, strict=True):
        for name in ("loss", "learning_rate"):
            assert second[name] == pytest.approx(first[name], rel=1e-4), name
    weights = [load_file(folder / "weights.safetensors") for folder in (tmp_path, by_two)]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-4, rtol=1e-3)


def test_processes_do_not_wait_for_each_other_in_every_step(trained_by_two: tuple[str, Path]) -> None:
    """Beside gradients and batch norms: once an epoch of three steps to ask about stopping, and once for each loss."""
    stage, folder = trained_by_two
    num_losses = 3  # of the area: cross-entropy, auxiliary, their sum; of the recognition: Lc, Ld, their sum
    assert int((folder / "reductions.txt").read_text()) == 2 * (1 + num_losses), stage


@pytest.mark.parametrize("trained_by_two", ["area-slow"], indirect=True)
def test_two_processes_go_on_after_an_interruption(trained_by_two: tuple[str, Path], tmp_path: Path) -> None:
    stage, by_two = trained_by_two
    stopped = launch_two(stage, tmp_path, "5", "SIGTERM")
    assert stopped.returncode != 0
    assert "to resume" in stopped.stderr
    assert not (tmp_path / "weights.safetensors").exists()
    resumed = launch_two(stage, tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    first, second = (load_file(folder / "weights.safetensors") for folder in (by_two, tmp_path))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything that the processes do together, so that one shows it."""
    monkeypatch.setattr("lightning_fabric.Fabric.world_size", 2)
    with pytest.raises(TrainingError, match=r"set area\.batch_size to a multiple of 2"):
        run_small("area-batch-of-three", tmp_path)
    assert not RunFolder(tmp_path).checkpoint.exists()


def test_torchrun_leaves_our_options_alone() -> None:
    """With the `--` that the documentation has; without it, `--run` is short for two of its own."""
    parser = get_args_parser()
    ours = ["model_training.cli.main", "area", "--run", "runs/cin"]
    parsed = parser.parse_args(["--nproc-per-node", "2", "-m", "--", *ours])
    assert [parsed.training_script, *parsed.training_script_args] == ours
    with pytest.raises(SystemExit):
        parser.parse_args(["--nproc-per-node", "2", "-m", *ours])
