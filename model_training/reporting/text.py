"""Markdown shared by reports: tables, figures with intervals, and the partition of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model_training.evaluation.leakage import overlap_sentences


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def with_interval(figure: Mapping[str, float]) -> str:
    """A figure's ``value`` with its ``low`` and ``high``: ``0.742 [0.683, 0.797]``."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def partitions(train: str, chosen_on: str, judged: Mapping[str, Any]) -> str:
    """The sets for training, for choosing and for reporting, and how many reported images were trained on."""
    reported = [f"`{name}`" for name in judged if name != chosen_on]
    text = f"Trained on `{train}`, temperature and thresholds chosen on `{chosen_on}`, "
    text += f"reported on {', '.join(reported)}." if reported else "not evaluated on a test set."
    for name, figures in judged.items():
        seen = figures.get("seen_in_training", {"same_id": 0, "same_pixels": 0})
        for sentence in overlap_sentences(f"`{name}`", figures["num_pictures"], **seen):
            text += f" **{sentence}**"
    return text
