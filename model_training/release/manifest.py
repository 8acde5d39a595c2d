"""The fields of a bundle's manifest, from the experiment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from model_training.arrays import Flags, Scores
from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import DEFAULT_POINT, choose_referrals, measure
from model_training.evaluation.evaluate import EVALUATIONS, read_calibration, read_report
from model_training.evaluation.predictions import read_predictions
from model_training.reporting.model_card import INTENDED_USE
from model_training.training.experiment import Experiment
from model_training.training.revision import git_commit
from model_training.training.run_folder import stage_config
from service.bundle import (
    CANARY_OUTPUTS_NAME,
    CANARY_PICTURE_NAME,
    Canary,
    Provenance,
    TensorSpec,
    Variant,
    is_unsure,
    measure_reference,
)


def manifest_fields(
    experiment: Experiment,
    validation: FrameSet,
    specs: list[TensorSpec],
    variants: list[Variant],
    *,
    name: str,
    version: str,
    licence: str,
) -> dict[str, Any]:
    """The manifest's fields except ``abstention``; the first image of ``validation`` is the canary."""
    data = experiment.config.data
    _, probabilities = read_predictions(experiment.evaluation("validation") / "predictions.csv", validation.classes)
    return {
        "name": name,
        "version": version,
        "classes": list(experiment.diagnoses()),
        "frame_size": data.frame_size,
        "frame_jpeg_quality": data.copies_jpeg_quality,
        "network_size": experiment.config.network.size,
        "input": TensorSpec(
            name="image",
            dtype="uint8",
            shape=["batch", data.frame_size, data.frame_size, 3],
            meaning="the whole upright image squashed to a square, sRGB",
        ),
        "outputs": specs,
        "variants": variants,
        "temperature": read_calibration(experiment).temperature_N.tolist(),
        "prevalence": prevalence_of(experiment),
        **judged_referrals(experiment),
        "default_operating_point": DEFAULT_POINT,
        "reference": measure_reference(probabilities, list(validation.classes), measured_on=validation.name),
        "provenance": _provenance(experiment),
        "licence": licence,
        "intended_use": INTENDED_USE,
        "canary": Canary(
            picture=CANARY_PICTURE_NAME,
            outputs=CANARY_OUTPUTS_NAME,
            tolerance=1e-3,
            source=f"a frame of {validation.name}"
            if data.is_own(data.train)
            else f"{validation.ids[0]} of {validation.name}, CC0",
        ),
    }


class _Evaluated(NamedTuple):
    """The answers to those N images of a set that are known to be malignant or benign."""

    name: str
    malignant_N: Flags
    scores_N: Scores
    probabilities_NK: Scores


def _evaluated(experiment: Experiment) -> list[_Evaluated]:
    """The evaluated sets, in the order of ``EVALUATIONS``."""
    diagnoses = experiment.diagnoses()
    malignant_K, unknown_K = (np.array([each.role == role for each in diagnoses]) for role in ("malignant", "unknown"))
    found = []
    for split in EVALUATIONS:
        if (report := read_report(experiment, split)) is None:
            continue
        folder = experiment.evaluation(split)
        ids, probabilities_NK = read_predictions(folder / "predictions.csv", experiment.classes())
        labels_N = read_predictions(folder / "truth.csv", experiment.classes())[1].argmax(axis=1)
        known_N = ~unknown_K[labels_N]
        malignant_N, shares_NK = malignant_K[labels_N[known_N]], probabilities_NK[known_N]
        name = f"{report['set']} ({len(ids)} images)"
        found.append(_Evaluated(name, malignant_N, shares_NK[:, malignant_K].sum(axis=1), shares_NK))
    return found


def judged_referrals(experiment: Experiment) -> dict[str, Any]:
    """``operating_points`` and ``not_sure``: chosen on the first of the evaluated sets, measured on the last.

    Without out-of-fold answers there is no ``not_sure``: a validation set is too small to choose it.
    """
    first, *others = _evaluated(experiment)
    chosen, rule = choose_referrals(
        first.malignant_N,
        first.scores_N,
        first.probabilities_NK,
        experiment.diagnoses(),
        chosen_on=first.name,
        with_rule=read_report(experiment, "out-of-fold") is not None,
    )
    last = others[-1] if others else first
    points = [
        measure(
            point.name,
            point.threshold,
            last.malignant_N,
            last.scores_N,
            measured_on=last.name,
            chosen_on=first.name if others else None,
            unsure_N=is_unsure(last.probabilities_NK, rule, experiment.diagnoses()),
        )
        for point in chosen
    ]
    return {"operating_points": points, "not_sure": rule}


def _provenance(experiment: Experiment) -> Provenance:
    config = experiment.config
    stages = {"recognition": experiment.recognition_run}
    if config.network.lesion_area_attention:
        stages["area"] = experiment.area_run
    about = {stage: run.read_json("run.json") for stage, run in stages.items()}
    resolved = {stage: {"precision": about[stage]["precision"], **stage_config(config, stage)} for stage in stages}
    return Provenance(
        git_commit=about["recognition"]["git_commit"],
        created_at=datetime.now(UTC),
        start=about["recognition"]["start"],
        data=about["recognition"]["data"],
        seeds=[config.seed],
        config={**resolved, "export": {"git_commit": git_commit()}},
        metrics=_reported_metrics(experiment),
    )


def prevalence_of(experiment: Experiment) -> dict[str, float]:
    """The class prevalence that the probabilities are calibrated for."""
    train, _ = experiment.training_sets()
    if experiment.config.evaluation.prevalence == "balanced" and experiment.config.recognition.class_weights != "none":
        return dict.fromkeys(train.classes, 1 / len(train.classes))
    counts = np.bincount(train.labels, minlength=len(train.classes))
    return dict(zip(train.classes, (counts / counts.sum()).tolist(), strict=True))


def _reported_metrics(experiment: Experiment) -> dict[str, dict[str, float]]:
    """The figures of every evaluated split, by the name of its set."""
    reports = [report for split in EVALUATIONS if (report := read_report(experiment, split)) is not None]
    return {report["set"]: report["metrics"] for report in reports}
