"""What the commands share."""

from __future__ import annotations

import pytest

from model_training.commands.options import command_line


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ("reproduce --table 1 --plan", "reproduce --table 1"),
        ("reproduce --table=3 --system cin --system=a --minutes 9", "reproduce --table=3"),
        ("choose --choice base --runs /some/where --results=/else/where", "choose"),
        (
            "reproduce --config /my/folder/isic2017.toml --set start=/my/weights.pth --set seed=2 --seeds 1",
            "reproduce --config isic2017.toml --set start=weights.pth --set seed=2 --seeds 1",
        ),
    ],
)
def test_the_recorded_command_is_everyones(monkeypatch: pytest.MonkeyPatch, arguments: str, kept: str) -> None:
    monkeypatch.setattr("sys.argv", ["/my/bin/cin-train", *arguments.split()])
    assert command_line() == f"cin-train {kept}"
