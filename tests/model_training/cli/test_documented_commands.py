"""The documented training commands, as printed, on the small experiment."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_training.cli.main import app
from tests.documented import commands_of
from tests.model_training.conftest import SETTINGS, SmallExperiment
from tests.paths import REPOSITORY

# Those on own images are tried in ``release/test_own_data.py``.
COMMANDS = [
    command.replace(".venv/bin/cin-train", "cin-train") for command in commands_of("train") if "clinic" not in command
]
# These would take hours, or gigabytes.
PLANNED = {"ablations": "--plan", "reproduce": "--plan", "download": "--help"}


def test_there_is_one_for_every_step() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} >= {
        *("download", "audit", "prepare", "area", "recognition", "evaluate", "report", "export", "ablations")
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_training_commands(
    command: str, small_experiment: SmallExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both stages are finished, so their commands resume at the end."""
    # A plan times every kind of network that it has; tests of the plan measure one.
    for timed in ("time_area_batch", "time_recognition_batch"):
        monkeypatch.setattr(f"model_training.studies.plan.{timed}", lambda config: 1.0)
    places = {
        "runs/cin": str(small_experiment.run),
        "runs/cin/report": str(tmp_path / "report"),
        "bundles/mine": str(tmp_path / "bundles" / "mine"),
        "data": str(small_experiment.data),
        "audit.json": str(tmp_path / "audit.json"),
    }
    name, *words = [places.get(word, word) for word in shlex.split(command)[1:]]
    words = [str(REPOSITORY / word) if word.startswith("model_training/configs/") else word for word in words]
    # Pretrained weights are not in the repository.
    words = shlex.split(re.sub(r"--set start=\S+", "", shlex.join(words)))
    if name not in ("audit", "download"):
        words += ["--data", str(small_experiment.data), "--cache", str(small_experiment.cache)]
    if "--config" in words:  # the others read what the run recorded
        # The small experiment has no folds.
        words += [part for setting in (*SETTINGS, "area.cross_fit=false") for part in ("--set", setting)]
    if name == "export":
        words.append("--dirty")
    if name in ("ablations", "reproduce"):
        words += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    if name in PLANNED and PLANNED[name] not in words:
        words.append(PLANNED[name])
    result = CliRunner().invoke(app, [name, *words])
    assert result.exit_code == 0, result.output
