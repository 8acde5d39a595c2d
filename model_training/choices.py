"""What the paper leaves open, decided by five-fold cross-validation on the training set.

Each choice changes the base configuration in one way; none of them ever sees a test set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from model_training.config import NUM_FOLDS, load_config
from model_training.experiment import Experiment
from model_training.reporting.text import table
from model_training.run_folder import write_text
from model_training.trials import Trial, TrialRecord, variant_of

BASE = "base"

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        BASE: (),
        "no-crop": ("network.lesion_area_attention=false",),
        "hard-crop": ("network.crop_margin=0",),
        "wide-crop": ("network.crop_margin=0.25",),
        "no-auxiliary-loss": ("area.auxiliary_weight=0",),
        "no-feature-attention": ("network.lesion_feature_attention=false",),
        "literal-attention": ("network.attention=literal",),
        "row-attention": ("network.attention=row",),
        "attention-from-one": ("network.attention_start=1",),
        "literal-from-one": ("network.attention=literal", "network.attention_start=1"),
        "shared-branches": ("network.branches=shared",),
        "no-distinguish": ("network.distinguish=false",),
        "balanced-pairs": ("recognition.pairs=balanced",),
        "no-class-weights": ("recognition.class_weights=none",),
        "sgd-step": (
            "recognition.optimiser=sgd",
            "recognition.schedule=step",
            "recognition.learning_rate=1e-3",
            "recognition.weight_decay=1e-4",
        ),
        "adamw-cosine": (
            "recognition.optimiser=adamw",
            "recognition.schedule=cosine",
            "recognition.learning_rate=3e-4",
            "recognition.weight_decay=1e-2",
        ),
        "no-start": ("start=none",),
        "eight-views": ("evaluation.views=8",),
    }
)

# Choices that train the first stage differently, so that they cannot share the base's.
_OWN_FIRST_STAGE = frozenset({"no-auxiliary-loss", "no-start"})

# Choices about a finished network: they ask the base's.
_ABOUT_EVALUATION = frozenset({"eight-views"})


def fold_trials(template: Experiment, results: Path, *, config: Path | None, assignments: Sequence[str]) -> list[Trial]:
    """The trials of all choices, fold by fold; without those that change nothing in this configuration."""
    base = load_config(config, assignments)
    changing = [c for c in CHOICES if c == BASE or load_config(config, [*assignments, *CHOICES[c]]) != base]
    trials = []
    for fold in range(NUM_FOLDS):
        for choice in changing:
            name = f"cross-validation/{choice}/fold-{fold + 1}"
            trained_as = BASE if choice in _ABOUT_EVALUATION else choice
            first_stage = choice if choice in _OWN_FIRST_STAGE else BASE
            experiment = replace(
                template,
                config=load_config(config, [*assignments, *CHOICES[choice], f"data.fold={fold}"]),
                folder=template.folder / "cross-validation" / trained_as / f"fold-{fold + 1}",
                area_folder=template.folder / "cross-validation" / "lesion-area" / first_stage / f"fold-{fold + 1}",
            )
            if trained_as != choice:
                # The base keeps what its own evaluation left in the folder that both share.
                folder = template.folder / "cross-validation" / choice / f"fold-{fold + 1}" / "evaluation"
                experiment = replace(experiment, evaluation_folder=folder)
            trials.append(Trial(name, experiment, "validation", results / name))
    return trials


def choices_result(trials: Sequence[Trial], *, command: str) -> dict[str, Any]:
    """Everything in ``cross-validation.json``: each choice's figures over the folds, and its paired gain over the base.

    The gain is the mean over the folds that both have, with its standard error: too small, since any two folds'
    training sets share three quarters of their pictures.
    """
    by_fold: dict[str, dict[int, TrialRecord]] = {}
    for trial in trials:
        record = trial.record()
        if record is not None:
            by_fold.setdefault(variant_of(record.name), {})[record.config["data"]["fold"]] = record
    return {
        "command": command,
        "train": trials[0].config.data.train,
        "choices": [_choice(name, folds, by_fold) for name, folds in by_fold.items()],
    }


def _choice(name: str, folds: Mapping[int, TrialRecord], by_fold: Mapping[str, Mapping[int, TrialRecord]]) -> Any:
    base = by_fold.get(BASE, {})
    shared = [fold for fold in folds if fold in base]
    records = list(folds.values())
    metrics = {}
    for metric in (name for name in records[0].metrics if name.endswith("_auc")):
        values = np.array([record.metrics[metric] for record in records])
        gains = np.array([folds[fold].metrics[metric] - base[fold].metrics[metric] for fold in shared])
        metrics[metric] = {
            "mean": float(values.mean()),
            "std": float(values.std(ddof=1)) if len(values) > 1 else None,
            "gain": float(gains.mean()) if len(gains) and name != BASE else None,
            "gain_standard_error": float(gains.std(ddof=1) / len(gains) ** 0.5)
            if len(gains) > 1 and name != BASE
            else None,
        }
    return {
        "name": name,
        "changes": list(CHOICES[name]),
        "folds": [fold + 1 for fold in folds],
        "metrics": metrics,
        "start": "; ".join(dict.fromkeys(record.start for record in records)),
        "precision": "; ".join(dict.fromkeys(record.precision for record in records)),
        "input_size": records[0].input_size,
        "epochs": records[0].config["recognition"]["epochs"],
        "machine": "; ".join(dict.fromkeys(record.machine for record in records)),
        "git_commits": list(dict.fromkeys(commit for record in records for commit in record.git_commits)),
        "seconds": sum(sum(record.seconds.values()) for record in records),
    }


def write_choices_result(result: Mapping[str, Any], results: Path) -> None:
    """Write ``cross-validation.json`` and ``cross-validation.md`` below ``results``."""
    metrics = list(result["choices"][0]["metrics"]) if result["choices"] else []
    lines = [
        f"# Choices, by five-fold cross-validation on `{result['train']}`",
        "",
        f"AUC on the part held out: mean ± standard deviation over the folds; gain over `{BASE}` on the same folds ± "
        "its standard error, which is too small: any two folds' training sets share three quarters of their pictures. "
        f"Made by `{result['command']}`.",
        "",
    ]
    rows = []
    for choice in result["choices"]:
        cells = [_cell(choice["metrics"][metric]) for metric in metrics]
        changes = ", ".join(f"`{change}`" for change in choice["changes"]) or "-"
        rows.append([choice["name"], changes, *cells, str(len(choice["folds"]))])
    heads = (metric.replace("_", " ").replace("auc", "AUC") for metric in metrics)
    lines.append(table(["Choice", "Changes", *heads, "Folds"], rows))
    texts = {"json": json.dumps(result, indent=2), "md": "\n".join(lines)}
    results.mkdir(parents=True, exist_ok=True)
    for suffix, text in texts.items():
        write_text(results / f"cross-validation.{suffix}", text + "\n")


def _cell(figures: Mapping[str, float | None]) -> str:
    spread = "" if figures["std"] is None else f" ± {figures['std']:.3f}"
    gain = "" if figures["gain"] is None else f"; {figures['gain']:+.3f}"
    error = "" if figures["gain_standard_error"] is None else f" ± {figures['gain_standard_error']:.3f}"
    return f"{figures['mean']:.3f}{spread}{gain}{error}"
