"""Folders that two commands want at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from model_training.config import Config, load_config
from model_training.files import Interrupted, folder_lock
from model_training.training.run_folder import RunError, RunFolder, recorded_config, stage_config
from tests.model_training.locks import held_by_another_process


def test_a_folder_waits_for_the_command_that_works_there(tmp_path: Path) -> None:
    # The other one is killed while this one waits: the lock of a dead command is free.
    with held_by_another_process(tmp_path) as other, folder_lock(tmp_path, waiting=other.kill):
        assert other.wait(timeout=10) != 0


def test_a_free_folder_is_not_waited_for(tmp_path: Path) -> None:
    for _ in range(2):
        with folder_lock(tmp_path / "new", waiting=lambda: pytest.fail("no other command is there")):
            assert (tmp_path / "new").is_dir()


def test_waiting_ends_with_the_time_given(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as other:
        deadline = time.monotonic() + 0.05
        with (
            pytest.raises(Interrupted, match="to resume"),
            folder_lock(tmp_path, waiting=lambda: None, deadline=deadline),
        ):
            pytest.fail("the other one has it")
        other.kill()


@pytest.mark.parametrize(
    ("changed", "what"),
    [("start_sha256", "another start"), ("precision", "another precision"), ("data", "another data")],
)
def test_a_run_goes_on_with_what_it_began_with(tmp_path: Path, changed: str, what: str) -> None:
    provenance = {"data": {"set": "1"}, "start": "a.pth", "start_sha256": "1", "precision": "32-true"}
    run = RunFolder(tmp_path)
    run.open(Config(start="a.pth"), "recognition", provenance)
    # The same start may lie elsewhere now.
    run.open(Config(start="elsewhere/b.pth"), "recognition", provenance | {"start": "b.pth"})
    with pytest.raises(RunError, match=what):
        run.open(Config(), "recognition", provenance | {changed: {"set": "2"} if changed == "data" else "2"})


def with_epochs(epochs: int, **settings: str) -> Config:
    return Config.model_validate({"recognition": {"epochs": epochs, **settings}})


def test_a_run_may_get_more_epochs(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(with_epochs(2), "recognition", {})
    run.save_weights({"a": torch.zeros(1)})
    run.open(with_epochs(4), "recognition", {})
    with pytest.raises(RunError, match="finish this stage first"):
        run.load_weights(with_epochs(4), "recognition")
    for other in (with_epochs(3), with_epochs(5, optimiser="adamw")):
        with pytest.raises(RunError, match="another configuration"):
            run.open(other, "recognition", {})


def test_a_run_records_its_whole_configuration(tmp_path: Path) -> None:
    assert recorded_config(tmp_path) is None
    area, recognition = RunFolder(tmp_path / "area"), RunFolder(tmp_path / "recognition")
    own = {"start": "my.pth", "accelerator": "cpu", "evaluation": {"prevalence": "training"}}
    first = Config.model_validate({**own, "network": {"size": 64}, "area": {"epochs": 3}})
    area.open(first, "area", {})
    assert load_config(None, recorded=recorded_config(tmp_path)) == first
    second = load_config(None, ["recognition.epochs=7"], recorded=recorded_config(tmp_path))
    recognition.open(second, "recognition", {})
    assert load_config(None, recorded=recorded_config(tmp_path)) == second
    # Each stage may get more epochs.
    for stage, run in (("area", area), ("recognition", recognition)):
        changed = load_config(None, [f"{stage}.epochs=9"], recorded=recorded_config(tmp_path))
        run.open(changed, stage, {})
        assert load_config(None, recorded=recorded_config(tmp_path)) == changed
    assert (changed.area.epochs, changed.recognition.epochs) == (9, 9)


def test_what_an_earlier_version_recorded_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "recognition")
    run.open(Config(), "recognition", {})
    run.write_json("config.json", stage_config(Config(), "recognition"))
    assert recorded_config(tmp_path) is None
    run.open(Config(), "recognition", {})


def test_a_schedule_that_depends_on_the_number_of_epochs_gets_no_more(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(with_epochs(2, schedule="cosine"), "recognition", {})
    with pytest.raises(RunError, match=r"recognition\.epochs differ"):
        run.open(with_epochs(4, schedule="cosine"), "recognition", {})


def test_a_run_goes_on_in_its_precision_on_another_machine(tmp_path: Path) -> None:
    provenance = {"data": {}, "start": "none"}
    run = RunFolder(tmp_path)
    run.open(Config(precision="auto"), "recognition", provenance | {"precision": "32-true"})
    with pytest.raises(RunError, match="set precision=32-true to resume it"):
        run.open(Config(precision="auto"), "recognition", provenance | {"precision": "bf16-mixed"})
    run.open(Config(precision="32-true"), "recognition", provenance | {"precision": "32-true"})


def test_a_run_from_before_precisions_were_kept_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(Config(), "recognition", {"data": {}, "start": "none"})
    run.open(Config(), "recognition", {"data": {}, "start": "none", "precision": "32-true"})


def test_a_run_notes_where_and_with_what_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    for commit in ("a" * 40, "b" * 40, "b" * 40):
        monkeypatch.setattr("model_training.training.run_folder.git_commit", lambda commit=commit: commit)
        run.open(Config(), "area", {"data": {}})
    assert run.surroundings("git_commit") == ["a" * 40, "b" * 40]
    run.weights.touch()
    monkeypatch.setattr("model_training.training.run_folder.git_commit", lambda: "c" * 40)
    run.open(Config(), "area", {"data": {}})
    assert run.surroundings("git_commit") == ["a" * 40, "b" * 40], "nothing is trained any more"


def test_a_run_from_before_a_key_goes_on_with_its_default(tmp_path: Path) -> None:
    provenance = {"data": {}, "start": "none"}
    run = RunFolder(tmp_path)
    run.open(Config(), "recognition", provenance)
    written = run.read_json("config.json")
    del written["network"]["attention_start"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    run.open(Config(), "recognition", provenance)
    changed = Config.model_validate({"network": {"attention_start": 1.0}})
    with pytest.raises(RunError, match=r"network\.attention_start differ"):
        run.open(changed, "recognition", provenance)
