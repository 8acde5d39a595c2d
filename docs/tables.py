"""Tables in Markdown, and the figures of ``results/`` that go into them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
RESULTS = REPOSITORY / "results"
RELEASE = "cin-isic2017-2.1.0"
TASKS = ("melanoma_auc", "seborrheic_keratosis_auc", "mean_auc")
Figures = Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def read(name: str) -> Any:
    """A JSON file below ``results/``."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def trial(challenge: str, system: str, seed: int = 0) -> Figures:
    """The record of one training of ``results/trials``."""
    record: Figures = read(f"trials/{challenge}/{system}/seed-{seed}/trial.json")
    return record


def aucs(figures: Figures) -> list[str]:
    """Melanoma, seborrheic keratosis, mean."""
    return [f"{figures[task]:.3f}" for task in TASKS]


def interval(figure: Figures, form: str = ".3f") -> str:
    """``0.846 (0.770 to 0.900)``."""
    return f"{figure['value']:{form}} ({figure['low']:{form}} to {figure['high']:{form}})"
