"""The README's training commands, as printed, on the small experiment."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_training.cli.main import app
from tests.conftest import REPOSITORY
from tests.model_training.conftest import SETTINGS, SmallExperiment
from tests.readme import training_commands


def test_there_is_one_for_every_step() -> None:
    assert [c.split()[1] for c in training_commands()] == [
        "download", "audit", "prepare", "area", "recognition", "evaluate", "evaluate", "report", "export",
        "choose",
    ]  # fmt: skip


def test_download_is_called_as_it_is_meant_to_be() -> None:
    (command,) = [command for command in training_commands() if command.split()[1] == "download"]
    result = CliRunner().invoke(app, [*command.split()[1:], "--base-url", "http://127.0.0.1:9/none", "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [c for c in training_commands() if c.split()[1] != "download"])
def test_training_commands(command: str, small_experiment: SmallExperiment, tmp_path: Path) -> None:
    """Both stages are finished, so their commands resume at the end, and of the cross-validation it is the plan only;
    nothing else is different from the README."""
    replaced = {
        "model_training/configs/isic2017.toml": str(REPOSITORY / "model_training/configs/isic2017.toml"),
        "runs/cin": str(small_experiment.run),
        "runs/cin/report": str(tmp_path / "report"),
        "bundles/mine": str(tmp_path / "bundles" / "mine"),
    }
    words = [replaced.get(word, word) for word in command.split()[1:]]
    if words[0] == "audit":
        words = [{"data": str(small_experiment.data), "audit.json": str(tmp_path / "a.json")}.get(w, w) for w in words]
    else:
        words += ["--data", str(small_experiment.data), "--cache", str(small_experiment.cache)]
        words += [part for setting in SETTINGS for part in ("--set", setting)]
    if words[0] == "choose":
        words += ["--plan", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
