"""The results of the module controls as tables: each recipe's mean over folds and seeds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_training.config import NUM_FOLDS
from model_training.evaluation.statistics import interval_over_folds
from model_training.reporting.text import table
from model_training.studies.regression_control import CHANGES

Record = Mapping[str, Any]

_COLUMNS: dict[str, dict[str, str]] = {
    "distinguish": {"pair_auc": "Pair AUC"},
    "classifier": {"auc_melanoma": "Melanoma", "auc_keratosis": "Seborrheic keratosis", "mean_auc": "Mean AUC"},
    "teacher": {"auc_melanoma": "Melanoma", "auc_keratosis": "Seborrheic keratosis", "mean_auc": "Mean AUC"},
    "share": {
        "auc_melanoma": "Melanoma",
        "auc_keratosis": "Seborrheic keratosis",
        "mean_auc": "Mean AUC",
        "started_at": "before training",
        "pair_auc": "Pair AUC",
    },
    "regression": {
        "mean_auc": "Mean AUC",
        **{f"auc: {change}": f"AUC, {change}" for change in CHANGES},
        **{f"p moves: {change}": f"p moves, {change}" for change in CHANGES},
    },
    "attention": {
        "auc_on": "Mean AUC",
        "auc_off": "F off",
        "auc_uniform": "uniform",
        "auc_shuffled": "shuffled",
        "change_off": "p moves, F off",
        "change_uniform": "uniform",
        "effective_columns": "Columns",
        "effective_rows": "Rows",
        "row_spread": "Spread",
    },
}
# The baseline of each study's gains, and the figure.
_BASES = {
    "distinguish": ("adamw", "pair_auc"),
    "attention": ("none", "auc_on"),
    "classifier": ("last", "mean_auc"),
    "regression": ("turns-0.1", "mean_auc"),
    "share": ("lambda-0", "mean_auc"),
    "teacher": ("first", "mean_auc"),
}
_MAPS = ("correlation", "correlation-shuffled", "spatial", "gradient", "centre")


def control_table(study: str, records: Mapping[str, Record]) -> str:
    """Markdown with one row per recipe and view.

    A recipe's gain is over the study's base, paired by fold and seed, with its 95 % interval over the folds. Gains of
    deletion are over random maps; in brackets is the mean of the runs' lower bounds of the 95 % interval.
    """
    groups: dict[str, dict[tuple[str, str], Record]] = defaultdict(dict)
    for name, record in records.items():
        recipe, view, fold, seed = name.split("/")
        groups[f"{recipe} ({view})"][fold, seed] = record
    figure = _BASES[study][1]
    columns = _COLUMNS[study]
    maps = _MAPS if study == "attention" else ()
    head = [
        "Recipe",
        "Runs",
        *columns.values(),
        f"Gain over {_BASES[study][0]}",
        *(f"Deletion: {name}" for name in maps),
    ]
    rows = []
    for name, by_run in groups.items():
        group = list(by_run.values())
        base = _base_of(study, name.partition(" ")[0])
        base_runs = groups.get(f"{base} ({name.rsplit('(', 1)[1]}", {})
        gained = "-" if base_runs is by_run else _paired(by_run, base_runs, figure)
        cells = [*(_mean(group, key) for key in columns), gained, *(_gain(group, key) for key in maps)]
        rows.append([name, str(len(group)), *cells])
    return table(head, rows)


def _base_of(study: str, recipe: str) -> str:
    """The recipe that another one is compared with: of D's share the same one without it."""
    return re.sub(r"(?<=lambda-)[\d.]+(-rising)?", "0", recipe) if study == "share" else _BASES[study][0]


def _paired(runs: Mapping[tuple[str, str], Record], base: Mapping[tuple[str, str], Record], figure: str) -> str:
    """The mean gain over the folds that both have; a fold's gain is the mean over seeds."""
    gains: dict[str, list[float]] = defaultdict(list)
    for fold, seed in runs.keys() & base.keys():
        gains[fold].append(runs[fold, seed][figure] - base[fold, seed][figure])
    if not gains:
        return "-"
    gains_F = np.array([np.mean(values) for values in gains.values()])
    mean = f"{gains_F.mean():+.3f}"
    if len(gains_F) < 2:
        return mean
    low, high = interval_over_folds(gains_F, NUM_FOLDS)
    return f"{mean} ({low:+.3f} to {high:+.3f})"


def _mean(group: Sequence[Record], key: str) -> str:
    values = [record[key] for record in group if key in record]
    if not values:
        return "-"
    mean = float(np.mean(values))
    return f"{mean:.1f}" if mean >= 2 else f"{mean:.3f}"


def _gain(group: Sequence[Record], key: str) -> str:
    gains = [record["faithfulness"][key]["deletion_gain"] for record in group if key in record["faithfulness"]]
    if not gains:
        return "-"
    mean, low = (float(np.mean([gain[bound] for gain in gains])) for bound in ("mean", "low"))
    return f"{mean:+.3f} [{low:+.3f}]"
