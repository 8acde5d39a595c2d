"""Figures of a finished experiment on a whole set, from one ``predictions.csv`` that the official scorer accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from model_training.calibration import fit_temperature
from model_training.data.frames import FrameSet
from model_training.data.pairs import Indices
from model_training.experiment import Experiment, inference_device
from model_training.leakage import overlap, refuse_seen_pictures
from model_training.metrics import (
    Scores,
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
from model_training.predictions import (
    read_predictions,
    scored_classes,
    write_branches,
    write_predictions,
    write_truth,
)
from model_training.run_folder import RunError, git_commit, write_table, write_text
from model_training.stages.recognition import predict_logits
from service.bundle import file_sha256

Split = Literal["validation", "test"]
SPLITS: tuple[Split, ...] = ("validation", "test")


def evaluate(
    experiment: Experiment, split: Split, *, ledger: Path, purpose: str = "", force: bool = False
) -> dict[str, float]:
    """Evaluate on a split, write everything to ``<run>/evaluation/<split>/``, and return the figures.

    The validation split also fits the temperatures that every later use of the model takes from its ``report.json``.
    Every reading of the test split is appended to ``ledger`` (JSON lines), with its ``purpose`` and its figures. A test
    set of which the model has seen pictures is refused (:class:`LeakageError`); ``force`` reports the overlap instead.
    """
    pictures = experiment.validation_set() if split == "validation" else experiment.frames(experiment.config.data.test)
    seen = overlap(experiment, pictures)
    if not force:
        refuse_seen_pictures(seen, pictures)
    config = experiment.config
    device = inference_device()
    network = experiment.recognition_network(len(pictures.classes)).to(device)
    located = experiment.locate(pictures, device)
    with torch.inference_mode():
        size, num_views = config.network.size, config.evaluation.views
        logits = predict_logits(network, pictures, located.box_B4, size, device, num_views=num_views)
    if split == "validation":
        labels = torch.from_numpy(pictures.labels)
        # Inference tensors cannot take part in fitting.
        temperatures = torch.tensor([fit_temperature(logits[:, i].clone(), labels) for i in range(logits.shape[1])])
    else:
        temperatures = temperature(experiment)
    probabilities, per_branch = summed_probabilities(logits, temperatures)
    folder = experiment.evaluation(split)
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", pictures.ids, probabilities.double().numpy(), pictures.classes)
    write_branches(folder / "branches.csv", pictures.ids, per_branch.double().numpy(), pictures.classes)
    write_truth(folder / "truth.csv", pictures.ids, pictures.labels.tolist(), pictures.classes)
    metrics = classification_metrics(folder / "predictions.csv", pictures)
    if config.network.lesion_area_attention and pictures.has_mask.any():
        metrics |= _lesion_metrics(folder / "lesions.csv", pictures, located, config.network.crop_margin)
    # JSON has no NaN: a figure that is not defined on this set is left out.
    metrics = {figure: value for figure, value in metrics.items() if not math.isnan(value)}
    report = {
        "set": pictures.name,
        "digest": pictures.digest,
        "answered_by": experiment.answered_by(),
        "temperature": temperatures.tolist(),
        "metrics": metrics,
        "seen_in_training": asdict(seen),
    }
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    if split == "test":
        _record_reading(ledger, experiment, pictures, purpose, metrics)
    return metrics


def temperature(experiment: Experiment) -> Tensor:
    """The fitted temperature of each branch ``[2]``. Raises :class:`RunError` before validation was evaluated."""
    report = read_report(experiment, "validation")
    if report is None:
        raise RunError(f"{experiment.folder} is not evaluated yet; run first: cin-train evaluate --split validation")
    return torch.tensor(report["temperature"])


def read_report(experiment: Experiment, split: Split) -> dict[str, Any] | None:
    """What the evaluation on ``split`` reported; None before there was one.

    Raises :class:`RunError` when other weights, or the same ones shown another number of views, gave those answers.
    """
    path = experiment.evaluation(split) / "report.json"
    if not path.is_file():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if report.get("answered_by") != experiment.answered_by():
        raise RunError(
            f"{path} is about other weights or another evaluation.views than these; "
            f"run again: cin-train evaluate --split {split}"
        )
    return report


def classification_metrics(predictions: Path, pictures: FrameSet) -> dict[str, float]:
    """:func:`classification_figures` of a predictions file about ``pictures``."""
    ids, probabilities = read_predictions(predictions, pictures.classes)
    if tuple(ids) != pictures.ids:
        raise ValueError(f"{predictions} is not about the pictures of {pictures.name}, in their order")
    return {"num_pictures": len(ids), **classification_figures(pictures.labels, probabilities, pictures.classes)}


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


def _lesion_metrics(path: Path, pictures: FrameSet, located: LesionArea, margin: float) -> dict[str, float]:
    """Mean Jaccard of the masks and mean IoU of the boxes, over the pictures that have a mask."""
    size = pictures.frames.shape[1]
    attention = located.attention_BSS.unsqueeze(1)
    resized = torch.nn.functional.interpolate(attention, (size, size), mode="bilinear").squeeze(1).numpy()
    boxes: Scores = located.box_B4.double().numpy()
    truth_masks = torch.from_numpy(np.asarray(pictures.masks) > 128).float()
    true_boxes = smallest_rectangle(truth_masks, threshold=0.5, opening=1, margin=margin)[0].double().numpy()
    ious = box_iou(boxes, true_boxes)
    rows, jaccards = [], []
    for i, id in enumerate(pictures.ids):
        score = jaccard(resized[i] > 0.5, pictures.masks[i] > 128) if pictures.has_mask[i] else None
        fraction = float(located.fraction_B[i])
        rows.append([id, score, float(ious[i]) if score is not None else None, fraction, *boxes[i].tolist()])
        if score is not None:
            jaccards.append(score)
    write_table(path, ["image", "jaccard", "box_iou", "lesion_fraction", "x0", "y0", "x1", "y1"], rows)
    with_mask = pictures.has_mask
    return {
        "num_masks": int(with_mask.sum()),
        "mean_jaccard": float(np.mean(jaccards)),
        "mean_box_iou": float(ious[with_mask].mean()),
    }


def _record_reading(
    ledger: Path, experiment: Experiment, pictures: FrameSet, purpose: str, metrics: dict[str, float]
) -> None:
    entry = {
        "read_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "set": pictures.name,
        "purpose": purpose,
        "digest": pictures.digest,
        "weights_sha256": file_sha256(experiment.recognition_run.weights),
        "git_commit": git_commit(),
        "metrics": metrics,
    }
    ledger.parent.mkdir(parents=True, exist_ok=True)
    before = ledger.read_text(encoding="utf-8") if ledger.is_file() else ""
    write_text(ledger, before + json.dumps(entry) + "\n")
