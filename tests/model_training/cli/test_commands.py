"""What the commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.training.command_line import command_line
from tests.paths import REPOSITORY
from tests.synthetic import write_isic2016


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ("reproduce --table 1 --plan", "reproduce --table 1"),
        ("reproduce --table=3 --system cin --system=a --minutes 9", "reproduce --table 3"),
        ("choose --choice base --runs /some/where --results=/else/where", "choose"),
        (
            "reproduce --config /my/folder/isic2017.toml --set start=/my/weights.pth --set seed=2 --seeds 1",
            "reproduce --config isic2017.toml --set start=weights.pth --set seed=2 --seeds 1",
        ),
        (
            "crops --config=/my/folder/isic2017.toml --set=start=/my/weights.pth --out=/my/crops.json",
            "crops --config isic2017.toml --set start=weights.pth",
        ),
        ("evaluate --force --run runs/a --split test", "evaluate --force --split test"),
        (
            f"evaluate --config {REPOSITORY / 'model_training' / 'configs' / 'isic2017.toml'} --force",
            "evaluate --config model_training/configs/isic2017.toml --force",
        ),
    ],
)
def test_the_recorded_command_is_everyones(monkeypatch: pytest.MonkeyPatch, arguments: str, kept: str) -> None:
    monkeypatch.setattr("sys.argv", ["/my/bin/cin-train", *arguments.split()])
    assert command_line() == f"cin-train {kept}"


def test_control_c_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """While waiting for another command, say; training has a handler of its own that writes a checkpoint first."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model_training.training.experiment.Experiment.train_area", interrupted)
    result = CliRunner().invoke(app, ["area", "--run=anywhere"])
    assert result.exit_code == 130
    assert result.output == "stopped; run the same command again to resume\n"


def test_sets_that_are_not_used_are_not_asked_for(tmp_path: Path) -> None:
    write_isic2016(tmp_path, size=48, train=20, test=8, seed=2)
    settings = ("start=none", "data.train=isic2016-train", "data.holdout=0.2", "data.frame_size=48")
    assignments = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["prepare", *assignments, f"--data={tmp_path}", f"--cache={tmp_path / 'cache'}"])
    assert result.exit_code == 0, result.output
    assert "16 images" in result.output
