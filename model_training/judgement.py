"""What a finished experiment is worth to its users: calibration, operating points, and when not to trust an answer.

Everything follows from the answers of an evaluated run (``evaluation/<split>/branches.csv``) and the true labels;
thresholds are chosen on validation, and measured on both splits.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_training.calibration import (
    brier_score,
    calibration_error,
    measure,
    operating_points,
    predictive_values,
    specificity_at,
)
from model_training.data.pairs import Indices
from model_training.metrics import Flags, Scores
from model_training.statistics import risk_coverage_area, stratified_resamples
from service.bundle import OperatingPoint

PREVALENCES = (0.01, 0.02, 0.05, 0.10, 0.20)
SENSITIVITIES = (0.82, 0.89, 0.95)
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Answers:
    """What the network said of the N pictures of a set, and the truth."""

    classes: tuple[str, ...]
    labels: Indices  # [N]
    branches: NDArray[np.float64]  # [N, B, K], calibrated
    temperature: Scores  # [B]

    @property
    def probabilities(self) -> Scores:
        """The mean of the branches, ``[N, K]``."""
        return self.branches.mean(axis=1)

    @property
    def uncalibrated(self) -> Scores:
        """The mean of the branches before their temperatures, ``[N, K]``."""
        logits = np.log(np.maximum(self.branches, 1e-300)) * self.temperature[:, None]
        powers = np.exp(logits - logits.max(axis=2, keepdims=True))
        return (powers / powers.sum(axis=2, keepdims=True)).mean(axis=1)

    @property
    def malignant(self) -> tuple[Flags, Scores]:
        """Which pictures show a malignant lesion, and the probability given to that."""
        k = next(i for i, name in enumerate(self.classes) if name in ("melanoma", "malignant"))
        return self.labels == k, self.probabilities[:, k]

    @property
    def wrong(self) -> Flags:
        """Where the class of highest probability is not the true one."""
        return self.probabilities.argmax(axis=1) != self.labels


def read_answers(folder: Path, classes: Sequence[str], labels_N: Indices, temperature: Sequence[float]) -> Answers:
    """The answers in ``branches.csv`` of an evaluated split."""
    with (folder / "branches.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    values = np.array([[float(value) for value in row[1:]] for row in rows])
    return Answers(tuple(classes), labels_N, values.reshape(len(rows), -1, len(classes)), np.array(temperature))


def judge(validation: Answers, test: Answers | None, *, validation_name: str, test_name: str) -> dict[str, Any]:
    """Figures on both sets; the operating points' thresholds are those of ``validation``."""
    malignant, scores = validation.malignant
    points = operating_points(malignant, scores, measured_on=validation_name)
    sets = {validation_name: validation} | ({test_name: test} if test is not None else {})
    return {name: _judge_set(answers, points, name) for name, answers in sets.items()}


def _judge_set(answers: Answers, points: Sequence[OperatingPoint], name: str) -> dict[str, Any]:
    malignant, scores = answers.malignant
    measured = [measure(p.name, p.threshold, malignant, scores, measured_on=name) for p in points]
    prevalence = float(malignant.mean())
    return {
        "num_pictures": len(answers.labels),
        "prevalence": prevalence,
        "calibration": {
            "before": _calibration(answers.labels, answers.uncalibrated),
            "after": _calibration(answers.labels, answers.probabilities),
        },
        "specificity_at_sensitivity": {str(se): specificity_at(se, malignant, scores) for se in SENSITIVITIES},
        "operating_points": [
            {
                **point.model_dump(mode="json"),
                "predictive_values": [
                    {
                        "prevalence": share,
                        "positive": positive.model_dump(mode="json"),
                        "negative": negative.model_dump(mode="json"),
                    }
                    for share in (*PREVALENCES, prevalence)
                    for positive, negative in [predictive_values(point, share)]
                ],
            }
            for point in measured
        ],
        "error_prediction": error_prediction(answers),
    }


def _calibration(labels_N: Indices, probabilities_NK: Scores) -> dict[str, float]:
    confidence, correct = probabilities_NK.max(axis=1), probabilities_NK.argmax(axis=1) == labels_N
    return {
        "calibration_error": calibration_error(confidence, correct),
        "calibration_error_equal_mass": calibration_error(confidence, correct, equal_mass=True),
        "brier_score": brier_score(labels_N, probabilities_NK),
    }


def error_prediction(answers: Answers) -> dict[str, float]:
    """Does the branches' disagreement predict an error better than 1 - max p? Areas under the risk-coverage curves.

    ``gain`` is the area by 1 - max p minus that by disagreement (total variation distance), with its 95 % interval over
    resamples of the pictures: above zero where disagreement is the better sign.
    """
    certain = answers.probabilities.max(axis=1)
    agreement = -0.5 * np.abs(answers.branches[:, 0] - answers.branches[:, -1]).sum(axis=1)
    wrong = answers.wrong
    by_probability, by_agreement = risk_coverage_area(wrong, certain), risk_coverage_area(wrong, agreement)
    gains = [
        risk_coverage_area(wrong[chosen], certain[chosen]) - risk_coverage_area(wrong[chosen], agreement[chosen])
        for chosen in stratified_resamples(answers.labels, NUM_RESAMPLES, seed=0)
    ]
    low, high = np.percentile(gains, [2.5, 97.5])
    return {
        "area_by_probability": by_probability,
        "area_by_disagreement": by_agreement,
        "gain": by_probability - by_agreement,
        "low": float(low),
        "high": float(high),
    }
