"""The loop: interrupted, killed and resumed runs, what a run leaves, and the schedules."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from model_training.config import Config, StageConfig
from model_training.data.pictures import DatasetError
from model_training.files import Interrupted, replace_atomically
from model_training.training.area import AreaStage
from model_training.training.devices import DeviceError, inference_device, make_fabric, training_precision
from model_training.training.optimisation import learning_rate
from model_training.training.run_folder import RunError, RunFolder
from model_training.training.trainer import TrainingError
from tests.model_training.small_runs import CONFIG, run_small, small_frames
from tests.paths import REPOSITORY

STAGES = ("area", "recognition")


@pytest.fixture(scope="module", params=STAGES)
def whole_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, dict[str, Tensor]]:
    """A stage trained without interruption: its name, folder and weights."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, run_small(request.param, folder)


def test_a_first_stage_without_any_mask_is_refused() -> None:
    frames = small_frames()
    bare = replace(frames, has_mask=np.zeros_like(frames.has_mask))
    with pytest.raises(DatasetError, match=r"no image of .* has a mask.*network\.lesion_area_attention=false"):
        AreaStage(
            settings=CONFIG.area,
            network=CONFIG.network,
            pretrained=None,
            train=bare,
            validation=frames,
            seed=0,
            device=torch.device("cpu"),
        )


def assert_same_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == []


def test_ctrl_c_and_resume_end_in_the_same_weights(
    whole_run: tuple[str, Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    stage, folder, weights = whole_run
    with pytest.raises(Interrupted, match="to resume"):
        run_small(stage, tmp_path, signal_after=5, number=signal.SIGINT)
    assert not RunFolder(tmp_path).weights.exists()
    stopped = torch.load(RunFolder(tmp_path).checkpoint, weights_only=True)
    assert stopped["seconds"] > 0, "the time up to here counts"
    assert_same_bits(run_small(stage, tmp_path), weights)
    lines = [(RunFolder(f).metrics).read_text().splitlines() for f in (folder, tmp_path)]
    losses = [[(json.loads(line)["epoch"], json.loads(line)["loss"]) for line in file] for file in lines]
    assert losses[0] == losses[1]


def test_a_run_in_bfloat16_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = run_small("recognition-steady", tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_small("recognition-steady", tmp_path / "stopped", signal_after=3, number=signal.SIGINT)
    assert_same_bits(run_small("recognition-steady", tmp_path / "stopped"), whole)


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
    has_bfloat16: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    assert training_precision(Config(precision="auto")) == precision
    assert training_precision(Config(precision="32-true")) == "32-true"


def test_a_gpu_that_was_asked_for_is_not_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for begin in (make_fabric, inference_device):
        with pytest.raises(DeviceError, match=r"finds no GPU here.*accelerator=auto"):
            begin(Config(accelerator="cuda"))
    assert inference_device(Config()).type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert inference_device(Config()).type == "cuda"
    assert inference_device(Config(accelerator="cpu")).type == "cpu"


def test_kill_9_and_resume_end_in_the_same_weights(
    whole_run: tuple[str, Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    stage, _, weights = whole_run
    command = [sys.executable, "-m", "tests.model_training.small_runs", stage, str(tmp_path), "5"]
    killed = subprocess.run(command, cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert RunFolder(tmp_path).checkpoint.exists()
    assert_same_bits(run_small(stage, tmp_path), weights)


def test_training_learns_something(whole_run: tuple[str, Path, dict[str, Tensor]]) -> None:
    stage, folder, _ = whole_run
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert all(("pair_auc" in epoch) == stage.startswith("recognition") for epoch in metrics)
    assert all(0 <= epoch.get("pair_auc", 0) <= 1 for epoch in metrics)


def test_a_run_says_where_it_came_from(whole_run: tuple[str, Path, dict[str, Tensor]]) -> None:
    stage, folder, _ = whole_run
    about = json.loads((folder / "run.json").read_text())
    assert {"git_commit", "torch", "machine", "start", "data", "at"} <= about.keys()
    assert json.loads((folder / "config.json").read_text())[stage]["batch_size"] == 4


def test_a_folder_takes_no_other_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(CONFIG, "area", {"data": {"a": "1"}, "start": "none"})
    run.open(CONFIG, "area", {"data": {"a": "1"}, "start": "none"})
    other = CONFIG.model_copy(update={"seed": 4})
    with pytest.raises(RunError, match=r"another configuration \(seed differ\)"):
        run.open(other, "area", {"data": {"a": "1"}, "start": "none"})
    with pytest.raises(RunError, match="another data"):
        run.open(CONFIG, "area", {"data": {"a": "2"}, "start": "none"})


def test_unfinished_weights_are_not_used(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="finish this stage first"):
        RunFolder(tmp_path / "area").load_weights(CONFIG, "area")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(scratch: Path) -> None:
        scratch.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_papers_schedule() -> None:
    settings = StageConfig()
    assert [learning_rate(settings, epoch, 0.5) for epoch in (0, 19, 20, 40)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_one_cycle_rises_for_a_tenth_and_falls_to_nothing() -> None:
    settings = StageConfig(epochs=10, schedule="cosine", learning_rate=1.0)
    assert learning_rate(settings, 0, 0.5) == pytest.approx(0.5)
    assert learning_rate(settings, 1, 0.0) == pytest.approx(1.0)
    assert learning_rate(settings, 5, 0.5) == pytest.approx(0.5)
    assert learning_rate(settings, 9, 1.0) == pytest.approx(0.0)


def test_the_default_configuration_is_the_papers() -> None:
    config = Config()
    assert (config.network.size, config.recognition.batch_size, config.recognition.learning_rate) == (448, 32, 1e-3)
    assert (config.recognition.decay_every, config.recognition.distinguish_weight) == (20, 1.0)


def test_tensorboard_has_every_epoch_once_also_after_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_small("area", tmp_path, signal_after=5, number=signal.SIGINT)
    run_small("area", tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = [(event.step, event.value) for event in events.Scalars("loss")]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [step for step, _ in scalars] == [1, 2]
    assert [value for _, value in scalars] == pytest.approx([line["loss"] for line in lines])
    assert {"jaccard", "learning_rate", "pictures_per_second", "compute_share"} <= set(events.Tags()["scalars"])


def test_a_deadline_stops_like_ctrl_c(whole_run: tuple[str, Path, dict[str, Tensor]], tmp_path: Path) -> None:
    stage, _, weights = whole_run
    with pytest.raises(Interrupted):
        run_small(stage, tmp_path, deadline=time.monotonic())
    assert RunFolder(tmp_path).checkpoint.exists()
    assert_same_bits(run_small(stage, tmp_path), weights)


def test_a_checkpoint_from_before_parameter_groups_had_rates_resumes(
    whole_run: tuple[str, Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    stage, _, weights = whole_run
    with pytest.raises(Interrupted):
        run_small(stage, tmp_path, deadline=time.monotonic())
    checkpoint = RunFolder(tmp_path).checkpoint
    state = torch.load(checkpoint, weights_only=True)
    for group in state["optimiser"]["param_groups"]:
        del group["rate"]
    torch.save(state, checkpoint)
    assert_same_bits(run_small(stage, tmp_path), weights)


def test_a_loss_that_is_not_finite_ends_the_run_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lower learning_rate"):
        run_small("area-diverging", tmp_path)
    assert not RunFolder(tmp_path).checkpoint.exists()


def test_the_deterministic_flag_reaches_pytorch() -> None:
    try:
        make_fabric(Config(deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        make_fabric(Config())
    assert not torch.are_deterministic_algorithms_enabled()
