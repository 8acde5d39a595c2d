"""What the texts for people have in common: Markdown tables, figures with intervals, and which sets did what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def with_interval(figure: Mapping[str, float]) -> str:
    """A figure's ``value`` with its ``low`` and ``high``: ``0.742 [0.683, 0.797]``."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def partitions(train: str, validation: str, judged: Iterable[str]) -> str:
    """Which set was trained on, chosen on, and reported on."""
    reported = [f"`{name}`" for name in judged if name != validation]
    text = f"Trained on `{train}`, temperatures and thresholds chosen on `{validation}`, "
    return text + (f"reported on {', '.join(reported)}." if reported else "not evaluated on a test set.")
