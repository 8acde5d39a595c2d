"""Folders that two commands want at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_training.config import Config
from model_training.run_folder import RunError, RunFolder
from tests.training.locks import held_by_another_process


def test_a_run_waits_for_the_command_that_trains_there(tmp_path: Path) -> None:
    # The other one is killed while this one waits: a dead command's lock is nobody's.
    with held_by_another_process(tmp_path) as other, RunFolder(tmp_path).lock(waiting=other.kill):
        assert other.wait(timeout=10) != 0


def test_a_free_run_does_not_wait(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder(tmp_path / "new").lock(waiting=lambda: pytest.fail("nobody else is there")):
            assert (tmp_path / "new").is_dir()


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
