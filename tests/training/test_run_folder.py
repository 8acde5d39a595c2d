"""Folders that two commands want at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_training.run_folder import RunFolder
from tests.training.locks import held_by_another_process


def test_a_run_waits_for_the_command_that_trains_there(tmp_path: Path) -> None:
    # The other one is killed while this one waits: a dead command's lock is nobody's.
    with held_by_another_process(tmp_path) as other, RunFolder(tmp_path).lock(waiting=other.kill):
        assert other.wait(timeout=10) != 0


def test_a_free_run_does_not_wait(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder(tmp_path / "new").lock(waiting=lambda: pytest.fail("nobody else is there")):
            assert (tmp_path / "new").is_dir()
