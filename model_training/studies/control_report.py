"""The records of the module controls as tables: each recipe's mean over its folds and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_training.reporting.text import table

Record = Mapping[str, Any]

_COLUMNS: dict[str, dict[str, str]] = {
    "distinguish": {"pair_auc": "Pair AUC"},
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
_MAPS = ("correlation", "correlation-shuffled", "spatial", "gradient", "centre")


def control_table(study: str, records: Mapping[str, Record]) -> str:
    """Markdown: one row a recipe and view. Gains of deletion are over random maps, the mean of the runs' lower bounds
    of the 95 % interval in brackets."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for name, record in records.items():
        recipe, view, _, _ = name.split("/")
        groups[f"{recipe} ({view})"].append(record)
    columns = _COLUMNS[study]
    maps = _MAPS if study == "attention" else ()
    head = ["Recipe", "Runs", *columns.values(), *(f"Deletion: {name}" for name in maps)]
    rows = [
        [name, str(len(group)), *(_mean(group, key) for key in columns), *(_gain(group, key) for key in maps)]
        for name, group in groups.items()
    ]
    return table(head, rows)


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
