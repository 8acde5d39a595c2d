"""What the paper leaves open, compared by five-fold cross-validation on the training set.

Each choice changes the base configuration in one respect, ``shipped-recipe`` in all ways in which the shipped model's
training differs from that of the tables, and ``plain-recipe`` tells what that recipe does without the paper's modules.
None of them ever sees a test set, and all take every class for equally likely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from model_training.arrays import Indices, Scores
from model_training.config import NUM_FOLDS, load_config
from model_training.data.isic import PictureSet
from model_training.evaluation.predictions import read_predictions, scored_classes
from model_training.evaluation.statistics import NUM_RESAMPLES, interval_over_folds, stratified_resamples
from model_training.files import write_text
from model_training.metrics import area_under_roc
from model_training.reporting.text import table
from model_training.studies.trials import PREDICTIONS, Trial, TrialRecord, variant_of
from model_training.training.experiment import Experiment

BASE = "base"

ABLATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        BASE: (),
        "no-crop": ("network.lesion_area_attention=false",),
        "hard-crop": ("network.crop_margin=0",),
        "wide-crop": ("network.crop_margin=0.25",),
        "low-threshold": ("network.crop_threshold=0.3",),
        "no-opening": ("network.crop_opening=0",),
        "no-auxiliary-loss": ("area.auxiliary_weight=0",),
        "no-feature-attention": ("network.lesion_feature_attention=false",),
        "literal-attention": ("network.attention=literal",),
        "row-attention": ("network.attention=row",),
        "attention-from-one": ("network.attention_start=1",),
        "literal-from-one": ("network.attention=literal", "network.attention_start=1"),
        "shared-branches": ("network.branches=shared",),
        "no-distinguish": ("network.distinguish=false",),
        "light-distinguish": ("recognition.distinguish_weight=0.1",),
        "balanced-pairs": ("recognition.pairs=balanced",),
        "no-class-weights": ("recognition.class_weights=none",),
        "strong-augmentation": ("recognition.augmentation=strong",),
        "shipped-recipe": (
            "precision=bf16-mixed",
            "network.crop_margin=0.5",
            "network.distinguish=false",
            "recognition.epochs=24",
            "recognition.augmentation=strong",
        ),
        "plain-recipe": (
            "precision=bf16-mixed",
            "network.lesion_area_attention=false",
            "network.lesion_feature_attention=false",
            "network.distinguish=false",
            "recognition.epochs=24",
            "recognition.augmentation=strong",
        ),
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

# What a choice is held against beside the base: it without what it is about.
_CONTROLS = MappingProxyType({"shipped-recipe": "plain-recipe"})

# Choices that train the first stage differently, so that they cannot share the base's.
_OWN_FIRST_STAGE = frozenset({"no-auxiliary-loss", "no-start", "shipped-recipe"})

# Choices about a finished network: they ask the base's.
_ABOUT_EVALUATION = frozenset({"eight-views"})


def fold_trials(template: Experiment, results: Path, *, config: Path | None, assignments: Sequence[str]) -> list[Trial]:
    """The trials of all choices, fold by fold; without those that change nothing in this configuration."""
    assignments = [*assignments, "evaluation.prevalence=balanced"]  # as in the paper's tables
    base = load_config(config, assignments)
    changing = [c for c in ABLATIONS if c == BASE or load_config(config, [*assignments, *ABLATIONS[c]]) != base]
    trials = []
    for fold in range(NUM_FOLDS):
        for choice in changing:
            name = f"cross-validation/{choice}/fold-{fold + 1}"
            trained_as = BASE if choice in _ABOUT_EVALUATION else choice
            first_stage = choice if choice in _OWN_FIRST_STAGE else BASE
            experiment = replace(
                template,
                config=load_config(config, [*assignments, *ABLATIONS[choice], f"data.fold={fold}"]),
                folder=template.folder / "cross-validation" / trained_as / f"fold-{fold + 1}",
                area_folder=template.folder / "cross-validation" / "lesion-area" / first_stage / f"fold-{fold + 1}",
            )
            if trained_as != choice:
                # The base keeps what its own evaluation left in the folder that both share.
                folder = template.folder / "cross-validation" / choice / f"fold-{fold + 1}" / "evaluation"
                experiment = replace(experiment, evaluation_folder=folder)
            trials.append(Trial(name, experiment, "validation", results / name))
    return trials


@dataclass(frozen=True)
class _Fold:
    """What one choice answered on the N pictures that one fold holds out."""

    record: TrialRecord
    labels_N: Indices
    scores_NK: Scores


def ablation_result(trials: Sequence[Trial], train: PictureSet, *, command: str) -> dict[str, Any]:
    """Everything in ``cross-validation.json``: each choice's AUC over the folds, and its paired gain over the base.

    The gain is the mean over the folds that both have, with two 95 % intervals. ``low`` to ``high`` is a bootstrap over
    the pictures held out, for the networks as they are. ``folds_low`` to ``folds_high`` is about the spread of the
    folds' own gains: a choice is better when it is above zero over all five folds. All folds have the same seed, whose
    own share in a gain is in neither.
    """
    labels = {sample.id: sample.label for sample in train.samples}
    folds: dict[str, dict[int, _Fold]] = {}
    for trial in trials:
        record = trial.record()
        if record is not None:
            ids, scores = read_predictions(trial.results / PREDICTIONS, train.classes)
            answers = _Fold(record, np.array([labels[id] for id in ids]), scores)
            folds.setdefault(trial.variant, {})[record.config["data"]["fold"]] = answers
    base = folds.get(BASE, {})
    return {
        "command": command,
        "train": train.name,
        "choices": [_choice(name, own, {} if name == BASE else base, train.classes) for name, own in folds.items()],
        "controls": [
            {"name": name, "against": control, **_gain(folds[name], folds[control], train.classes)}
            for name, control in _CONTROLS.items()
            if folds.get(name, {}).keys() & folds.get(control, {}).keys()
        ],
    }


def _choice(name: str, folds: Mapping[int, _Fold], base: Mapping[int, _Fold], classes: Sequence[str]) -> dict[str, Any]:
    records = [fold.record for fold in folds.values()]
    values = np.array([_aucs(fold.labels_N, fold.scores_NK, classes) for fold in folds.values()])
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    columns = _by_metric({"mean": values.mean(axis=0), "std": spread}, classes)
    gain = _gain(folds, base, classes)
    metrics = {metric: {**columns[metric], **gain["metrics"].get(metric, {})} for metric in columns}
    return {
        "name": name,
        "changes": list(ABLATIONS[name]),
        "folds": [fold + 1 for fold in folds],
        "shared_folds": gain["shared_folds"],
        "metrics": metrics,
        "start": "; ".join(dict.fromkeys(record.start for record in records)),
        "precision": "; ".join(dict.fromkeys(record.precision for record in records)),
        "input_size": records[0].input_size,
        "epochs": records[0].config["recognition"]["epochs"],
        "machine": "; ".join(dict.fromkeys(record.machine for record in records)),
        "git_commits": list(dict.fromkeys(commit for record in records for commit in record.git_commits)),
        "seconds": sum(sum(record.seconds.values()) for record in records),
    }


def _gain(folds: Mapping[int, _Fold], reference: Mapping[int, _Fold], classes: Sequence[str]) -> dict[str, Any]:
    """The folds that both have, and for each AUC what is gained on them, with both intervals."""
    shared = [fold for fold in folds if fold in reference]
    metrics: dict[str, dict[str, Any]] = {}
    if shared:
        by_fold = np.array([_gains(folds[fold], reference[fold], classes) for fold in shared])
        low, high = np.percentile(by_fold.mean(axis=0)[1:], [2.5, 97.5], axis=0)
        columns = {"gain": by_fold[:, 0].mean(axis=0), "low": low, "high": high}
        if len(shared) > 1:
            over_folds = [interval_over_folds(gains_F, NUM_FOLDS) for gains_F in by_fold[:, 0].T]
            columns |= dict(zip(("folds_low", "folds_high"), np.transpose(over_folds), strict=True))
        metrics = _by_metric(columns, classes)
        for figures, gains_F in zip(metrics.values(), by_fold[:, 0].T, strict=True):
            figures["gain_by_fold"] = gains_F.tolist()
    return {"shared_folds": [fold + 1 for fold in shared], "metrics": metrics}


def _by_metric(columns: Mapping[str, Scores], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Columns of figures, one for each scored class and their mean, by the metric's name; None for no number."""
    names = [f"{classes[k]}_auc" for k in scored_classes(classes)] + ["mean_auc"]
    return {
        name: {column: None if np.isnan(all_[i]) else float(all_[i]) for column, all_ in columns.items()}
        for i, name in enumerate(names)
    }


def _aucs(labels_N: Indices, scores_NK: Scores, classes: Sequence[str]) -> list[float]:
    """The AUC of each scored class, and their mean."""
    aucs = [area_under_roc(labels_N == k, scores_NK[:, k]) for k in scored_classes(classes)]
    return [*aucs, float(np.mean(aucs))]


def _gains(ours: _Fold, base: _Fold, classes: Sequence[str]) -> Scores:
    """What ``ours`` gains in each AUC: on the pictures themselves, then on each resample of them, ``[1 + R, metrics]``.

    Raises ``ValueError`` when the two have not answered the same pictures, or on crops by different networks although
    they are to share them.
    """
    first_stages = {fold.record.area_sha256 for fold in (ours, base)} - {None}
    own_first_stage = {variant_of(fold.record.name) for fold in (ours, base)} & _OWN_FIRST_STAGE
    if len(first_stages) > 1 and not own_first_stage:
        raise ValueError(f"{ours.record.name} and {base.record.name} differ in their first stage; rerun one of them")
    if not np.array_equal(ours.labels_N, base.labels_N):
        raise ValueError(f"{ours.record.name} and {base.record.name} are about other pictures; delete one and rerun it")
    labels = ours.labels_N
    resamples = stratified_resamples(labels, NUM_RESAMPLES, seed=ours.record.config["data"]["fold"])
    chosen = [np.arange(len(labels)), *resamples]
    first, second = (np.array([_aucs(labels[c], fold.scores_NK[c], classes) for c in chosen]) for fold in (ours, base))
    return first - second


def write_ablation_result(result: Mapping[str, Any], results: Path) -> None:
    """Write ``cross-validation.json`` and ``cross-validation.md`` below ``results``."""
    texts = {"json": json.dumps(result, indent=2) + "\n", "md": ablation_markdown(result)}
    results.mkdir(parents=True, exist_ok=True)
    for suffix, text in texts.items():
        write_text(results / f"cross-validation.{suffix}", text)


def ablation_markdown(result: Mapping[str, Any]) -> str:
    """The choices for reading: each AUC with its gain, and what the gain in the mean is on every fold."""
    metrics = list(result["choices"][0]["metrics"]) if result["choices"] else []
    lines = [
        f"# Choices, by five-fold cross-validation on `{result['train']}`",
        "",
        f"AUC on the part held out: mean ± standard deviation over the folds; gain over `{BASE}` on the same folds "
        "[95 % bootstrap interval over the pictures held out, for the networks as they are]. "
        f"Made by `{result['command']}`.",
        "",
    ]
    rows = []
    for choice in result["choices"]:
        cells = [_cell(choice["metrics"][metric]) for metric in metrics]
        changes = ", ".join(f"`{change}`" for change in choice["changes"]) or "-"
        rows.append([choice["name"], changes, *cells, str(len(choice["folds"]))])
    heads = [metric.replace("_", " ").replace("auc", "AUC") for metric in metrics]
    lines += [table(["Choice", "Changes", *heads, "Folds"], rows), ""]
    compared = [
        (gained["name"], gained.get("against", BASE), gained)
        for gained in (*result["choices"], *result["controls"])
        if len(gained["shared_folds"]) > 1 or "against" in gained
    ]
    if compared:
        rows = [[name, over, *(_by_fold(c, metric) for metric in metrics)] for name, over, c in compared]
        lines += [
            "Gain on each fold, and [95 % interval over the folds]: by Student's t with the variance corrected for "
            "what the folds share (Nadeau and Bengio, 2003). All have the same seed, whose own share is not in it. **A "
            "choice is better when this interval of the mean AUC is above zero over all five folds**; with many "
            "choices some may pass by chance.",
            "",
            table(["Choice", "Over", *heads], rows),
            "",
        ]
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any]) -> str:
    if figures["mean"] is None:
        return "-"
    spread = "" if figures["std"] is None else f" ± {figures['std']:.3f}"
    gain = ""
    if figures.get("gain") is not None:
        gain = f"; {figures['gain']:+.3f} [{figures['low']:+.3f}, {figures['high']:+.3f}]"
    return f"{figures['mean']:.3f}{spread}{gain}"


def _by_fold(gained: Mapping[str, Any], metric: str) -> str:
    figures = gained["metrics"][metric]
    gains = ", ".join(f"{gain:+.3f}" for gain in figures["gain_by_fold"])
    if "folds_low" not in figures:
        return gains
    return f"{gains} [{figures['folds_low']:+.3f}, {figures['folds_high']:+.3f}]"
