"""``predictions.csv`` and ``truth.csv`` in the format of the official scorer (isic-challenge-scoring).

The classes of 2016 have one column, ``malignant``; those of 2017 have two. The probability of the class without a
column is one minus the others. Any other classes have a column each.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model_training.arrays import Scores
from model_training.data.isic import CLASSES_2016, CLASSES_2017
from model_training.files import write_table

# Of each challenge's classes, the one that is not scored.
_WITHOUT_COLUMN = {frozenset(CLASSES_2016): "benign", frozenset(CLASSES_2017): "nevus"}


def scored_classes(classes: Sequence[str]) -> list[int]:
    """Indices of the classes that have a column and figures: of a challenge those that it scores, else all."""
    return [k for k, name in enumerate(classes) if name != _WITHOUT_COLUMN.get(frozenset(classes))]


def write_predictions(path: Path, ids: Sequence[str], probabilities_NK: Scores, classes: Sequence[str]) -> None:
    """Write the scored classes' probabilities in full precision, atomically."""
    columns = scored_classes(classes)
    rows = ([id, *(repr(float(row[k])) for k in columns)] for id, row in zip(ids, probabilities_NK, strict=True))
    write_table(path, ["image", *(classes[k] for k in columns)], rows)


def write_branches(path: Path, ids: Sequence[str], branches_NBK: Scores, classes: Sequence[str]) -> None:
    """Write every branch's probabilities of all classes, ``branch_1_<class>`` and so on, atomically."""
    header = [f"branch_{b + 1}_{name}" for b in range(branches_NBK.shape[1]) for name in classes]
    rows = ([id, *map(repr, row.ravel().tolist())] for id, row in zip(ids, branches_NBK, strict=True))
    write_table(path, ["image", *header], rows)


def read_branches(path: Path) -> tuple[list[str], tuple[str, ...], Scores]:
    """The ids, the classes, and every branch's probabilities ``[N, B, K]``."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    first = "branch_1_"
    classes = tuple(name.removeprefix(first) for name in header if name.startswith(first))
    values = np.array([[float(value) for value in row[1:]] for row in rows])
    return [row[0] for row in rows], classes, values.reshape(len(rows), -1, len(classes))


def write_truth(path: Path, ids: Sequence[str], labels_N: Sequence[int], classes: Sequence[str]) -> None:
    """Write the ground truth in the same columns, 0.0 or 1.0."""
    truth = np.eye(len(classes))[list(labels_N)]
    write_predictions(path, ids, truth, classes)


def read_predictions(path: Path, classes: Sequence[str]) -> tuple[list[str], Scores]:
    """The ids and the probabilities of all classes ``[N, K]``.

    Raises ``ValueError`` for other columns, rows that are cut short, and values that are not probabilities.
    """
    columns = scored_classes(classes)
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        expected = ["image", *(classes[k] for k in columns)]
        if rows.fieldnames != expected:
            raise ValueError(f"{path}: expected the columns {','.join(expected)}")
        table = list(rows)
    probabilities = np.zeros((len(table), len(classes)))
    for k in columns:
        try:
            probabilities[:, k] = [float(row[classes[k]]) for row in table]
        except (TypeError, ValueError) as error:  # a row that is too short has None
            raise ValueError(f"{path}: a row is damaged ({error}); make the file again") from error
    # NaN compares false, so it is rejected as well.
    if not ((probabilities >= 0.0) & (probabilities <= 1.0)).all():
        raise ValueError(f"{path}: every probability must be a number from 0 to 1")
    return [row["image"] for row in table], rest_from_scored(probabilities, classes)


def answers_for(classes: Sequence[str], answers: Tensor, own_classes: Sequence[str]) -> Tensor:
    """Probabilities ``answers`` ``[..., K]`` of ``own_classes``, converted to probabilities of ``classes``.

    The classes of 2016 follow from those of 2017: melanoma is malignant, the others are benign. Raises ``ValueError``
    when ``classes`` do not follow from ``own_classes``.
    """
    if tuple(classes) == tuple(own_classes):
        return answers
    if set(classes) != {"benign", "malignant"} or "melanoma" not in own_classes:
        raise ValueError(
            f"a model of {', '.join(own_classes)} has no answer to {', '.join(classes)}; set another data.test"
        )
    malignant = answers[..., own_classes.index("melanoma")]
    return torch.stack([malignant if name == "malignant" else 1 - malignant for name in classes], dim=-1)


def rest_from_scored(probabilities_NK: Scores, classes: Sequence[str]) -> Scores:
    """``probabilities_NK`` with the class without a column, if any, set to one minus the scored ones."""
    columns = scored_classes(classes)
    completed = probabilities_NK.copy()
    for rest in set(range(len(classes))) - set(columns):
        # In float32 the sum of the scored ones may exceed one by rounding.
        completed[:, rest] = np.maximum(0.0, 1.0 - completed[:, columns].sum(axis=1))
    return completed
