"""The evaluation of a finished experiment on a whole set, with a ``predictions.csv`` for the official scorer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_training.arrays import Indices, Scores
from model_training.data.frames import FrameSet
from model_training.data.splits import check_outcomes
from model_training.evaluation.calibration import Calibration, fit_calibration
from model_training.evaluation.leakage import overlap, refuse_seen_pictures
from model_training.evaluation.module_report import attention_report
from model_training.evaluation.predictions import (
    answers_for,
    rest_from_scored,
    scored_classes,
    write_branches,
    write_predictions,
    write_truth,
)
from model_training.evaluation.test_ledger import record_reading
from model_training.files import read_json, write_json, write_table
from model_training.metrics import (
    area_under_roc,
    argmax_decisions,
    average_precision,
    box_iou,
    jaccard,
    rates,
    threshold_decisions,
)
from model_training.network.cin import summed_probabilities
from model_training.network.crop import smallest_rectangle
from model_training.network.lesion_area_attention import LesionArea
from model_training.training.command_line import command_line
from model_training.training.devices import inference_device
from model_training.training.experiment import Experiment
from model_training.training.recognition import predict_logits, views_of
from model_training.training.run_folder import RunError

Split = Literal["validation", "test"]
# In this order; the first that exists determines the temperature and thresholds (``out_of_fold.py``).
EVALUATIONS = ("out-of-fold", "validation", "test")


class _Answers(NamedTuple):
    """The network's answers to a whole set of N images."""

    scores_NK: Scores
    branches_NBK: Scores
    calibration: Calibration
    located: LesionArea
    # Figures of the attention; None for a network without it.
    attention: dict[str, Any] | None


def log_prevalence(experiment: Experiment, labels_N: Indices | None = None) -> Tensor:
    """Logit shift ``[K]`` from the class mix that the weighted loss implies to the mix of ``labels_N``.

    ``labels_N`` defaults to the training set's. All zero with ``evaluation.prevalence = "balanced"``.
    """
    train, _ = experiment.training_sets()
    num_classes = len(train.classes)
    if experiment.config.evaluation.prevalence == "balanced":
        return torch.zeros(num_classes)

    def log_shares(labels: Indices) -> Tensor:
        # A class without an image counts as half of one: its share is not known to be zero.
        counts = torch.bincount(torch.from_numpy(labels), minlength=num_classes).clamp(min=0.5)
        return (counts / len(labels)).log()

    learnt = log_shares(train.labels) if experiment.config.recognition.class_weights == "none" else 0.0
    return log_shares(train.labels if labels_N is None else labels_N) - learnt


def evaluate(
    experiment: Experiment,
    split: Split,
    *,
    ledger: Path,
    purpose: str = "",
    force: bool = False,
    with_faithfulness: bool = True,
) -> dict[str, float]:
    """Evaluate on a split, write the results to ``<run>/evaluation/<split>/``, and return the figures.

    Without out-of-fold answers, the temperature is fitted on the validation split, and later read from its
    ``report.json``.
    ``ledger`` records each reading of the test split, with its ``purpose`` and figures, before anything is written.
    ``with_faithfulness``: see :func:`~model_training.evaluation.module_report.attention_report`.
    Raises ``ValueError`` for the test split without a purpose, and for a set whose classes do not follow from the
    model's (:func:`~model_training.evaluation.predictions.answers_for`); :class:`LeakageError` when the model has seen
    test images, unless ``force`` is set, which writes the overlap into the report instead.
    """
    if split == "test" and not purpose:
        raise ValueError("the test split is read for a purpose, which the ledger keeps: say it with --purpose")
    pictures = experiment.validation_set() if split == "validation" else experiment.frames(experiment.config.data.test)
    if split == "test" and experiment.config.data.is_own(pictures.name):
        check_outcomes(pictures, experiment.sets.classes(pictures.name))
    seen = overlap(experiment, pictures)
    if not force:
        refuse_seen_pictures(seen, pictures)
    for sentence in seen.as_sentences(pictures.name, len(pictures)):
        experiment.console.print(sentence, highlight=False)
    answers = _answer(experiment, split, pictures, with_faithfulness=with_faithfulness)
    metrics: dict[str, float] = {"num_pictures": len(pictures)}
    metrics |= classification_figures(pictures.labels, answers.scores_NK, pictures.classes)
    lesions = None
    if experiment.config.network.lesion_area_attention and pictures.has_mask.any():
        lesions = _judge_lesions(pictures, answers.located, experiment.config.network.crop_margin)
        metrics |= lesions.metrics
    # JSON has no NaN: undefined figures are left out.
    metrics = {figure: value for figure, value in metrics.items() if not math.isnan(value)}
    if split == "test":
        weights = experiment.recognition_run.weights_sha256()
        record_reading(ledger, pictures, purpose=purpose, weights_sha256=weights, metrics=metrics)
    folder = experiment.evaluation(split)
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", pictures.ids, answers.scores_NK, pictures.classes)
    write_branches(folder / "branches.csv", pictures.ids, answers.branches_NBK, pictures.classes)
    write_truth(folder / "truth.csv", pictures.ids, pictures.labels.tolist(), pictures.classes)
    if lesions is not None:
        write_table(folder / "lesions.csv", _LESION_COLUMNS, lesions.rows)
    report = {
        "command": command_line(),
        "set": pictures.name,
        "digest": pictures.digest,
        "answered_by": experiment.answered_by(),
        **answers.calibration.as_lists(),
        "metrics": metrics,
        "attention": answers.attention,
        "seen_in_training": asdict(seen),
    }
    write_json(folder / "report.json", report)
    return metrics


def _answer(experiment: Experiment, split: Split, pictures: FrameSet, *, with_faithfulness: bool) -> _Answers:
    """Run the network on ``pictures``; on validation, unless there are out-of-fold answers, fit the temperature too."""
    config, device, own_classes = experiment.config, inference_device(experiment.config), experiment.classes()
    network = experiment.recognition_network(len(own_classes)).to(device)
    located = experiment.locate(pictures, device)
    with torch.inference_mode():
        size, num_views = config.network.size, config.evaluation.views
        logits = predict_logits(network, pictures, located, size, device, num_views=num_views)
    if split == "validation" and read_report(experiment, "out-of-fold") is None:
        labels = torch.from_numpy(pictures.labels)
        here, later = log_prevalence(experiment, pictures.labels), log_prevalence(experiment)
        calibration = fit_calibration(logits, labels, fitted_at_K=here, used_at_K=later)
    else:
        calibration = read_calibration(experiment)
    probabilities, branches = (
        answers_for(pictures.classes, answers, own_classes) for answers in summed_probabilities(logits, *calibration)
    )
    # Completed as in predictions.csv, so that the figures match the file.
    scores = rest_from_scored(probabilities.double().numpy(), pictures.classes)
    attention = None
    # On a set with other classes the labels are not the network's.
    if config.network.lesion_feature_attention and pictures.classes == own_classes:
        views = torch.cat(list(views_of(network, pictures, located, size, device)))
        scored = scored_classes(own_classes)
        attention = attention_report(network, views, pictures.labels, scored, with_faithfulness=with_faithfulness)
    return _Answers(scores, branches.double().numpy(), calibration, located, attention)


def read_calibration(experiment: Experiment) -> Calibration:
    """The calibration fitted out of fold, or else on validation. Raises :class:`RunError` before either."""
    report = read_report(experiment, "out-of-fold") or read_report(experiment, "validation")
    if report is None:
        raise RunError(f"{experiment.folder} is not evaluated yet; run first: cin-train evaluate --split validation")
    return Calibration(torch.tensor(report["temperature"]), torch.tensor(report["log_prevalence"]))


def read_report(experiment: Experiment, split: str) -> dict[str, Any] | None:
    """The report of one of the ``EVALUATIONS``; None before there is one.

    Raises :class:`RunError` when it is about other weights or evaluation settings, or about another test set than the
    configuration's, or has another temperature than the out-of-fold answers.
    """
    path = experiment.evaluation(split) / "report.json"
    if not path.is_file():
        return None
    again = f"run again: cin-train {split if split == 'out-of-fold' else f'evaluate --split {split}'}"
    report = read_json(path, mend=again)
    if report.get("answered_by") != experiment.answered_by():
        raise RunError(f"{path} is about other weights, evaluation.views or evaluation.prevalence than these; {again}")
    first = None if split == "out-of-fold" else read_report(experiment, "out-of-fold")
    if first is not None and report["temperature"] != first["temperature"]:
        raise RunError(f"{path} was written before the out-of-fold answers gave another temperature; {again}")
    if split == "test" and report["set"] != experiment.config.data.test:
        raise RunError(f"{path} is about {report['set']}, not {experiment.config.data.test}; set data.test, or {again}")
    return report


def classification_figures(labels_N: Indices, probabilities_NK: Scores, classes: Sequence[str]) -> dict[str, float]:
    """AUC, AP and, by both decision rules, ACC, SE and SP of each scored class against the rest.

    ``argmax`` is the paper's rule, ``half`` (above 0.5) the official scorer's.
    """
    decisions = {"argmax": argmax_decisions(probabilities_NK), "half": threshold_decisions(probabilities_NK)}
    figures: dict[str, float] = {}
    scored = scored_classes(classes)
    for k in scored:
        truth, task = labels_N == k, classes[k]
        figures[f"{task}_auc"] = area_under_roc(truth, probabilities_NK[:, k])
        figures[f"{task}_ap"] = average_precision(truth, probabilities_NK[:, k])
        for rule, decided in decisions.items():
            figures |= {f"{task}_{name}_{rule}": v for name, v in asdict(rates(truth, decided[:, k])).items()}
    figures["mean_auc"] = float(np.mean([figures[f"{classes[k]}_auc"] for k in scored]))
    return figures


_LESION_COLUMNS = ("image", "jaccard", "box_iou", "lesion_fraction", "x0", "y0", "x1", "y1")


class _JudgedLesions(NamedTuple):
    rows: list[list[object]]
    metrics: dict[str, float]


def _judge_lesions(pictures: FrameSet, located: LesionArea, margin: float) -> _JudgedLesions:
    """Mean Jaccard of the masks and mean IoU of the boxes, over the images that have a mask."""
    size = pictures.frames.shape[1]
    attention = located.attention_BSS.unsqueeze(1)
    resized = torch.nn.functional.interpolate(attention, (size, size), mode="bilinear").squeeze(1).numpy()
    boxes: Scores = located.box_B4.double().numpy()
    truth_masks = torch.from_numpy(np.asarray(pictures.masks) > 128).float()
    true_boxes = smallest_rectangle(truth_masks, threshold=0.5, opening=1, margin=margin)[0].double().numpy()
    ious = box_iou(boxes, true_boxes)
    rows: list[list[object]] = []
    jaccards = []
    for i, id in enumerate(pictures.ids):
        score = jaccard(resized[i] > 0.5, pictures.masks[i] > 128) if pictures.has_mask[i] else None
        fraction = float(located.fraction_B[i])
        rows.append([id, score, float(ious[i]) if score is not None else None, fraction, *boxes[i].tolist()])
        if score is not None:
            jaccards.append(score)
    with_mask = pictures.has_mask
    metrics = {
        "num_masks": int(with_mask.sum()),
        "mean_jaccard": float(np.mean(jaccards)),
        "mean_box_iou": float(ious[with_mask].mean()),
    }
    return _JudgedLesions(rows, metrics)
