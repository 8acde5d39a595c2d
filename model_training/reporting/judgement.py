"""The judgement of a finished experiment: discrimination, calibration, operating points, prediction of errors.

It is computed from the answers of an evaluated run (``evaluation/<split>/branches.csv``) and the true labels.
Thresholds are chosen out of fold, or else on validation, and measured on every set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Flags, Indices, Scores
from model_training.evaluation.calibration import (
    Calibration,
    brier_score,
    calibration_error,
    choose_referrals,
    classwise_calibration_error,
    measure,
    predictive_values,
    proportion,
    specificity_at,
)
from model_training.evaluation.predictions import read_branches, read_predictions, scored_classes
from model_training.evaluation.statistics import NUM_RESAMPLES, risk_coverage_area, stratified_resamples
from model_training.metrics import area_under_roc, average_precision
from service.bundle import DiagnosisClass, NotSure, OperatingPoint, is_unsure

PREVALENCES = (0.01, 0.02, 0.05, 0.10, 0.20)
SENSITIVITIES = (0.82, 0.89, 0.95)


@dataclass(frozen=True)
class Answers:
    """The network's probabilities for the N images of a set, and their labels."""

    diagnoses: tuple[DiagnosisClass, ...]
    labels: Indices  # [N]
    branches: NDArray[np.float64]  # [N, B, K], calibrated
    temperature: Scores  # [B]
    log_prevalence: Scores  # [K]
    groups: Mapping[str, Flags] = field(default_factory=dict)  # [N] each, of :mod:`model_training.evaluation.groups`

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(each.name for each in self.diagnoses)

    @cached_property
    def of_known_role(self) -> Answers:
        """Those to images that are known to be malignant or benign."""
        known_N = np.array([each.role != "unknown" for each in self.diagnoses])[self.labels]
        return self if known_N.all() else self.of(known_N)

    def of(self, chosen_N: Flags) -> Answers:
        """Those to the chosen images."""
        groups = {name: flags_N[chosen_N] for name, flags_N in self.groups.items()}
        return replace(self, labels=self.labels[chosen_N], branches=self.branches[chosen_N], groups=groups)

    @property
    def probabilities(self) -> Scores:
        """The mean of the branches, ``[N, K]``."""
        return self.branches.mean(axis=1)

    @property
    def uncalibrated(self) -> Scores:
        """The mean of the branches before calibration, ``[N, K]``."""
        logits = (np.log(np.maximum(self.branches, 1e-300)) - self.log_prevalence) * self.temperature[:, None]
        powers = np.exp(logits - logits.max(axis=2, keepdims=True))
        return (powers / powers.sum(axis=2, keepdims=True)).mean(axis=1)

    @property
    def malignant(self) -> tuple[Flags, Scores]:
        """Which images show a malignant lesion, and the malignant probability; ``[N]`` each."""
        malignant_K = np.array([each.malignant for each in self.diagnoses])
        return malignant_K[self.labels], self.probabilities[:, malignant_K].sum(axis=1)

    @property
    def scored(self) -> list[int]:
        """The scored classes that the set has images of."""
        return [k for k in scored_classes(self.classes) if k in self.labels]

    @property
    def wrong(self) -> Flags:
        """Where the class of highest probability is not the true one, ``[N]``."""
        return self.probabilities.argmax(axis=1) != self.labels

    @property
    def confidence(self) -> Scores:
        """The highest probability, ``[N]``."""
        return self.probabilities.max(axis=1)

    @property
    def disagreement(self) -> Scores | None:
        """Total variation distance between the branches, ``[N]``; None when both are one network."""
        distance = 0.5 * np.abs(self.branches[:, 0] - self.branches[:, -1]).sum(axis=1)
        return distance if distance.any() else None

    @cached_property
    def resamples(self) -> list[Indices]:
        """The bootstrap samples of the images for every interval, ``[N]`` each."""
        return list(stratified_resamples(self.labels, NUM_RESAMPLES, seed=0))


def read_answers(folder: Path, calibration: Calibration, diagnoses: tuple[DiagnosisClass, ...]) -> Answers:
    """The answers in the evaluation ``folder``. Raises ``ValueError`` when its files do not list the same images."""
    answered, classes, branches_NBK = read_branches(folder / "branches.csv")
    ids, truth = read_predictions(folder / "truth.csv", classes)
    if ids != answered:
        raise ValueError(f"{folder}: branches.csv and truth.csv list different images; evaluate that split again")
    return Answers(
        diagnoses,
        truth.argmax(axis=1),
        branches_NBK,
        calibration.temperature_N.double().numpy(),
        calibration.log_prevalence_K.double().numpy(),
    )


def judge(sets: Mapping[str, Answers], *, choose_rule: bool = False) -> dict[str, Any]:
    """The figures of each set, by its name; thresholds are chosen on the first.

    With ``choose_rule`` the "not sure" rule is chosen too, and the operating points include it.
    """
    name, chosen_on = next(iter(sets.items()))
    judged = chosen_on.of_known_role
    points, rule = choose_referrals(
        *judged.malignant, judged.probabilities, judged.diagnoses, chosen_on=name, with_rule=choose_rule
    )
    return {name: _judge_set(answers, points, name, rule) for name, answers in sets.items()}


def _judge_set(answers: Answers, points: Sequence[OperatingPoint], name: str, rule: NotSure | None) -> dict[str, Any]:
    judged = answers.of_known_role
    malignant, scores = judged.malignant
    unsure = is_unsure(judged.probabilities, rule, judged.diagnoses)
    default = points[0]
    measured = [measure(p.name, p.threshold, malignant, scores, measured_on=name, unsure_N=unsure) for p in points]
    prevalence = float(malignant.mean())
    shares = [share for share in PREVALENCES if not math.isclose(share, prevalence)]
    return {
        "num_pictures": len(answers.labels),
        "prevalence": prevalence,
        "discrimination": _discrimination(answers),
        "class_pairs": class_pairs(answers),
        "referred": referred_by_class(answers, default, rule),
        "groups": {
            group: group_figures(judged.of(chosen_N), default, rule) for group, chosen_N in judged.groups.items()
        },
        "calibration": {
            "before": _calibration(answers, answers.uncalibrated),
            "after": _calibration(answers, answers.probabilities),
        },
        "specificity_at_sensitivity": {str(se): _specificity_at(se, judged) for se in SENSITIVITIES},
        "operating_points": [
            {
                **point.model_dump(mode="json"),
                "predictive_values": [
                    {
                        "prevalence": share,
                        "positive": positive.model_dump(mode="json"),
                        "negative": negative.model_dump(mode="json"),
                    }
                    for share in sorted([*shares, prevalence])
                    for positive, negative in [predictive_values(point, share)]
                ],
            }
            for point in measured
        ],
        "error_prediction": error_prediction(answers),
    }


def _discrimination(answers: Answers) -> dict[str, dict[str, dict[str, float]]]:
    """AUC and AP of each scored class against the rest, without classes that the set has no image of."""

    def against_the_rest(measure: Callable[[Flags, Scores], float], k: int) -> dict[str, float]:
        truth, scores = answers.labels == k, answers.probabilities[:, k]
        return _with_interval(answers, lambda n: measure(truth[n], scores[n]))

    measures = {"auc": area_under_roc, "ap": average_precision}
    return {
        answers.classes[k]: {name: against_the_rest(measure, k) for name, measure in measures.items()}
        for k in answers.scored
    }


def class_pairs(answers: Answers) -> list[dict[str, Any]]:
    """For each malignant class and each benign one: the AUC on the images of these two alone.

    The score is the malignant class's share of both probabilities.
    """
    present = [(k, each.role) for k, each in enumerate(answers.diagnoses) if k in answers.labels]
    pairs = [(m, b) for m, role in present if role == "malignant" for b, other in present if other == "benign"]
    return [{"classes": [answers.classes[m], answers.classes[b]], "auc": _auc_of_pair(answers, m, b)} for m, b in pairs]


def _auc_of_pair(answers: Answers, malignant: int, benign: int) -> dict[str, float]:
    pair = answers.of((answers.labels == malignant) | (answers.labels == benign))
    both_N = pair.probabilities[:, [malignant, benign]].sum(axis=1)
    truth_N, scores_N = pair.labels == malignant, pair.probabilities[:, malignant] / np.maximum(both_N, 1e-300)
    return _with_interval(pair, lambda n: area_under_roc(truth_N[n], scores_N[n]))


def referred_by_class(answers: Answers, point: OperatingPoint, rule: NotSure | None) -> dict[str, dict[str, Any]]:
    """For each class with images, the share of them that is referred, as if no advice were withheld."""
    _, scores_N = answers.malignant
    referred_N = (scores_N >= point.threshold) | is_unsure(answers.probabilities, rule, answers.diagnoses)
    return {
        name: proportion(int(referred_N[of_N].sum()), int(of_N.sum())).model_dump(mode="json")
        for k, name in enumerate(answers.classes)
        if (of_N := answers.labels == k).any()
    }


def group_figures(answers: Answers, point: OperatingPoint, rule: NotSure | None) -> dict[str, Any]:
    """The rates of one group of images at ``point``; those that it has no image for are left out."""
    malignant_N, scores_N = answers.malignant
    figures: dict[str, Any] = {"num_images": len(scores_N), "num_malignant": int(malignant_N.sum())}
    if malignant_N.all() or not malignant_N.any():
        return figures
    unsure_N = is_unsure(answers.probabilities, rule, answers.diagnoses)
    rates = measure(point.name, point.threshold, malignant_N, scores_N, measured_on="a group", unsure_N=unsure_N)
    return {
        **figures,
        "auc": _with_interval(answers, lambda n: area_under_roc(malignant_N[n], scores_N[n])),
        **rates.model_dump(mode="json", include={"sensitivity", "specificity"}),
    }


def _with_interval(answers: Answers, figure: Callable[[Indices], float]) -> dict[str, float]:
    """A figure of all images, with its 95 % interval over stratified resamples."""
    resampled = [figure(chosen) for chosen in answers.resamples]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": figure(np.arange(len(answers.labels))), "low": float(low), "high": float(high)}


def _specificity_at(sensitivity: float, answers: Answers) -> dict[str, float]:
    malignant, scores = answers.malignant
    return _with_interval(answers, lambda n: specificity_at(sensitivity, malignant[n], scores[n]))


def _calibration(answers: Answers, probabilities_NK: Scores) -> dict[str, dict[str, float]]:
    labels_N = answers.labels
    confidence, correct = probabilities_NK.max(axis=1), probabilities_NK.argmax(axis=1) == labels_N
    figures: dict[str, Callable[[Indices], float]] = {
        "calibration_error": lambda n: calibration_error(confidence[n], correct[n]),
        "calibration_error_equal_mass": lambda n: calibration_error(confidence[n], correct[n], equal_mass=True),
        "classwise_calibration_error": lambda n: classwise_calibration_error(labels_N[n], probabilities_NK[n]),
        "brier_score": lambda n: brier_score(labels_N[n], probabilities_NK[n]),
    }
    return {name: _with_interval(answers, figure) for name, figure in figures.items()}


def error_prediction(answers: Answers) -> dict[str, Any] | None:
    """Does the branches' disagreement predict an error better than 1 - max p? Areas under the risk-coverage curves.

    ``gain`` is the area by 1 - max p minus that by disagreement, with its 95 % interval over resamples of the images:
    above zero where disagreement predicts errors better. None when both branches are one network.
    """
    if answers.disagreement is None:
        return None
    wrong, certain, agreement = answers.wrong, answers.confidence, -answers.disagreement
    return {
        "area_by_probability": risk_coverage_area(wrong, certain),
        "area_by_disagreement": risk_coverage_area(wrong, agreement),
        "gain": _with_interval(
            answers,
            lambda n: risk_coverage_area(wrong[n], certain[n]) - risk_coverage_area(wrong[n], agreement[n]),
        ),
    }
