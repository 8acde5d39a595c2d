"""Tables of own images that tests write, change and read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from model_training.config import load_config
from model_training.data.frames import FrameSet, prepare_frames
from model_training.data.pictures import PictureSet
from model_training.data.sets import Sets
from tests.synthetic import FIVE_CLASSES

CLASSES = ", ".join(
    f'{{name = "{name}", label = "{name.title()}", role = "{role}"}}'
    for name, role in zip(FIVE_CLASSES, ("malignant", "malignant", "benign", "benign", "unknown"), strict=True)
)
SETTINGS = ("data.tables.clinic5=clinic5/clinic5.csv", f"data.classes=[{CLASSES}]")

Rows = list[dict[str, str]]


def sets(file: Path, *settings: str) -> Sets:
    return Sets(file.parent.parent, load_config(None, [*SETTINGS, *settings]).data)


def read(file: Path, name: str = "clinic5-train", *settings: str) -> PictureSet:
    return sets(file, *settings).read(name)


def change(file: Path, edit: Callable[[Rows], object]) -> None:
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    edit(rows)
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def prepared(file: Path, name: str = "clinic5-train", size: int = 32) -> FrameSet:
    return prepare_frames(read(file, name), file.parent.parent / "cache", size)


def set_cell(row: int, **cells: str) -> Callable[[Rows], object]:
    """Cells of a row as counted by spreadsheets."""
    return lambda rows: rows[row - 2].update(cells)
