"""Ablations: settings that the paper leaves open, compared by five-fold cross-validation on the training set.

An ablation changes one setting of the base configuration. ``steady-recipe`` has all differences between the shipped
model's training and that of the tables, ``shipped-recipe`` those of the model before it. No ablation reads a test set,
and all use balanced class prevalence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from model_training.arrays import Indices, Scores
from model_training.config import NUM_FOLDS, load_config
from model_training.data.pictures import PictureSet
from model_training.evaluation.predictions import read_predictions, scored_classes
from model_training.evaluation.statistics import NUM_RESAMPLES, interval_over_folds, stratified_resamples
from model_training.metrics import class_aucs
from model_training.studies.recipes import ACTING_RECIPE, LESION_RECIPE, STEADY_RECIPE
from model_training.studies.trials import PREDICTIONS, Trial, TrialRecord, provenance_of, variant_of
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
        # The form that has an effect in the control on frozen features: docs/modules.md.
        "bounded-attention": ("network.attention=cosine", "network.attention_start=1"),
        "bounded-attention-between": (
            "network.attention=cosine",
            "network.attention_start=1",
            "network.classifier_pooling=between",
        ),
        "canonical-orientation": ("network.canonical_orientation=true",),
        "one-classifier-layer": ("network.classifier_layers=1",),
        "cross-fitted-crops": ("area.cross_fit=true",),
        "shared-branches": ("network.branches=shared",),
        "no-distinguish": ("network.distinguish=false",),
        "normalised-distinguish": ("network.distinguish_norm=all",),
        "he-distinguish": ("network.distinguish_initialisation=he", "network.distinguish_norm=input"),
        "light-distinguish": ("recognition.distinguish_weight=0.1",),
        "balanced-pairs": ("recognition.pairs=balanced",),
        "no-class-weights": ("recognition.class_weights=none",),
        "slow-pretrained": (
            "area.learning_rate=1e-4",
            "area.new_module_rate=10",
            "recognition.learning_rate=1e-4",
            "recognition.new_module_rate=10",
        ),
        # All second-stage modules in forms that have an effect in their controls, with a learning rate for new modules.
        "acting-modules": (
            "network.attention=cosine",
            "network.attention_start=1",
            "network.distinguish_initialisation=he",
            "network.distinguish_norm=input",
            "recognition.learning_rate=1e-4",
            "recognition.new_module_rate=10",
        ),
        "artefacts": ("area.artefacts=0.7", "recognition.artefacts=0.7"),
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
        "acting-recipe": ACTING_RECIPE,
        # The recipe of the shipped model, without its second penalty, and then without each of the second stage's
        # modules.
        "steady-recipe": STEADY_RECIPE,
        "lesion-recipe": LESION_RECIPE,
        "lesion-recipe-no-distinguish": (*LESION_RECIPE, "network.distinguish=false"),
        "lesion-recipe-no-attention": (*LESION_RECIPE, "network.lesion_feature_attention=false"),
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

CONTROLS: Mapping[str, str] = MappingProxyType(
    {
        "shipped-recipe": "plain-recipe",
        **dict.fromkeys(("acting-recipe", "lesion-recipe"), "shipped-recipe"),
        "steady-recipe": "lesion-recipe",
        **dict.fromkeys(("lesion-recipe-no-distinguish", "lesion-recipe-no-attention"), "lesion-recipe"),
    }
)

# Ablations that change the first stage's training, and whose first stage they use instead of the base's.
_FIRST_STAGES: Mapping[str, str] = MappingProxyType(
    {
        name: name
        for name in (
            *("acting-recipe", "artefacts", "canonical-orientation", "cross-fitted-crops", "lesion-recipe"),
            *("no-auxiliary-loss", "no-start", "shipped-recipe"),
        )
    }
    | dict.fromkeys(("steady-recipe", "lesion-recipe-no-distinguish", "lesion-recipe-no-attention"), "lesion-recipe")
)

_EVALUATION_ONLY = frozenset({"eight-views"})  # they use the base's trained network


def fold_trials(template: Experiment, results: Path, *, config: Path | None, assignments: Sequence[str]) -> list[Trial]:
    """The trials of all ablations that change something in this configuration, fold by fold."""
    assignments = [*assignments, "evaluation.prevalence=balanced"]  # as in the paper's tables
    base = load_config(config, assignments)
    changing = [a for a in ABLATIONS if a == BASE or load_config(config, [*assignments, *ABLATIONS[a]]) != base]
    trials = []
    for fold in range(NUM_FOLDS):
        for ablation in changing:
            name = f"cross-validation/{ablation}/fold-{fold + 1}"
            trained_as = BASE if ablation in _EVALUATION_ONLY else ablation
            first_stages = template.folder / "cross-validation" / "lesion-area" / _FIRST_STAGES.get(ablation, BASE)
            experiment = replace(
                template,
                config=load_config(config, [*assignments, *ABLATIONS[ablation], f"data.fold={fold}"]),
                folder=template.folder / "cross-validation" / trained_as / f"fold-{fold + 1}",
                area_folder=first_stages / f"fold-{fold + 1}",
                folds_folder=first_stages,
            )
            if trained_as != ablation:  # not into the shared folder: it has the base's own evaluation
                folder = template.folder / "cross-validation" / ablation / f"fold-{fold + 1}" / "evaluation"
                experiment = replace(experiment, evaluation_folder=folder)
            trials.append(Trial(name, experiment, "validation", results / name))
    return trials


@dataclass(frozen=True)
class _Fold:
    """The outcome of one ablation on the N images that one fold holds out."""

    record: TrialRecord
    labels_N: Indices
    scores_NK: Scores


def ablation_result(trials: Sequence[Trial], train: PictureSet, *, command: str) -> dict[str, Any]:
    """The contents of ``cross-validation.json``: each ablation's AUC over the folds, and its paired gain over the base.

    The gain is the mean over the folds that both have, with two 95 % intervals. ``low`` to ``high`` is a bootstrap over
    the held-out images, for these networks. ``folds_low`` to ``folds_high`` is from the variance of the gains over the
    folds: an ablation is better when this interval, over all five folds, is above zero. Neither includes the variance
    between seeds, because all folds have the same one.
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
        "choices": [_figures(name, own, {} if name == BASE else base, train.classes) for name, own in folds.items()],
        "controls": [
            {"name": name, "against": control, **_gain(folds[name], folds[control], train.classes)}
            for name, control in CONTROLS.items()
            if folds.get(name, {}).keys() & folds.get(control, {}).keys()
        ],
    }


def _figures(
    name: str, folds: Mapping[int, _Fold], base: Mapping[int, _Fold], classes: Sequence[str]
) -> dict[str, Any]:
    records = [fold.record for fold in folds.values()]
    values = np.array([_aucs(fold.labels_N, fold.scores_NK, classes) for fold in folds.values()])
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    columns = _by_metric({"mean": values.mean(axis=0), "std": spread}, classes)
    gain = _gain(folds, base, classes)
    metrics = {metric: {**columns[metric], **gain["metrics"].get(metric, {})} for metric in columns}
    return {
        **{"name": name, "changes": list(ABLATIONS[name]), "folds": [fold + 1 for fold in folds]},
        "shared_folds": gain["shared_folds"],
        "metrics": metrics,
        "epochs": records[0].config["recognition"]["epochs"],
        **provenance_of(records),
    }


def _gain(folds: Mapping[int, _Fold], reference: Mapping[int, _Fold], classes: Sequence[str]) -> dict[str, Any]:
    """The folds that both have, and the gain in each AUC on them, with both intervals."""
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
    """Columns of figures (one value for each scored class, then their mean) by metric; None for NaN."""
    names = [f"{classes[k]}_auc" for k in scored_classes(classes)] + ["mean_auc"]
    return {
        name: {column: None if np.isnan(all_[i]) else float(all_[i]) for column, all_ in columns.items()}
        for i, name in enumerate(names)
    }


def _aucs(labels_N: Indices, scores_NK: Scores, classes: Sequence[str]) -> list[float]:
    """The AUC of each scored class, and their mean."""
    aucs = class_aucs(labels_N, scores_NK, scored_classes(classes))
    return [*aucs, float(aucs.mean())]


def _gains(ours: _Fold, base: _Fold, classes: Sequence[str]) -> Scores:
    """The gain of ``ours`` in each AUC, ``[1 + R, metrics]``: on the images, then on each bootstrap resample.

    Raises ``ValueError`` when the two have different images, or unintentionally crops of different first stages.
    """
    first_stages = {fold.record.area_sha256 for fold in (ours, base)} - {None}
    own_first_stage = {variant_of(fold.record.name) for fold in (ours, base)} & _FIRST_STAGES.keys()
    if len(first_stages) > 1 and not own_first_stage:
        raise ValueError(f"{ours.record.name} and {base.record.name} differ in their first stage; rerun one of them")
    if not np.array_equal(ours.labels_N, base.labels_N):
        raise ValueError(f"{ours.record.name} and {base.record.name} are about other images; delete one and rerun it")
    labels = ours.labels_N
    resamples = stratified_resamples(labels, NUM_RESAMPLES, seed=ours.record.config["data"]["fold"])
    chosen = [np.arange(len(labels)), *resamples]
    first, second = (np.array([_aucs(labels[c], fold.scores_NK[c], classes) for c in chosen]) for fold in (ours, base))
    return first - second
