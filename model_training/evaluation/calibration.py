"""Temperatures and operating points, fitted on the validation set, and measures of calibration.

The weighted loss of Eqn 4 makes every class equally frequent, so the network's softmax overstates rare ones.
Multiplying by each class's share of the training set corrects that without fitting anything; the temperatures then
correct over- or underconfidence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_training.arrays import Flags, Indices, Scores
from model_training.metrics import rates, wilson_interval
from service.bundle import Interval, OperatingPoint


class Calibration(NamedTuple):
    """The parameters of a branch's probabilities, softmax(z / T + log_prevalence), given its logits z."""

    temperature_N: Tensor
    log_prevalence_K: Tensor

    def as_lists(self) -> dict[str, list[float]]:
        """The parameters as JSON fields."""
        return {"temperature": self.temperature_N.tolist(), "log_prevalence": self.log_prevalence_K.tolist()}


def fit_calibration(logits_BNK: Tensor, labels_B: Tensor, *, fitted_at_K: Tensor, used_at_K: Tensor) -> Calibration:
    """Fit each branch's temperature on labelled pictures, for use at another class prevalence.

    ``fitted_at_K`` shifts the logits to the prevalence of these pictures, ``used_at_K`` to that of later ones:
    otherwise the temperature would also correct the prevalence, and be wrong at another one.
    """
    # Inference tensors cannot take part in fitting.
    branches = [logits_BNK[:, i].clone() for i in range(logits_BNK.shape[1])]
    temperatures = [fit_temperature(branch, labels_B, fitted_at_K) for branch in branches]
    return Calibration(torch.tensor(temperatures), used_at_K)


def fit_temperature(logits_NK: Tensor, labels_N: Tensor, log_prevalence_K: Tensor) -> float:
    """The temperature that minimises the mean negative log-likelihood of softmax(logits / T + log_prevalence)."""
    log_temperature = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(logits_NK / log_temperature.exp() + log_prevalence_K, labels_N)
        value.backward()
        return value

    optimiser.step(loss)
    # On perfectly separated pictures it would go to zero or infinity.
    return float(log_temperature.detach().exp().clamp(0.05, 20.0))


def calibration_error(confidence_N: Scores, correct_N: Flags, *, equal_mass: bool = False, num_bins: int = 15) -> float:
    """Expected calibration error: the mean distance between confidence and accuracy, over bins of the confidence.

    The bins are of equal width, or, with ``equal_mass``, hold equally many pictures. Between 0 and 1.
    """
    return sum(
        share * abs(confidence - accuracy)
        for share, confidence, accuracy in reliability(
            confidence_N, correct_N, equal_mass=equal_mass, num_bins=num_bins
        )
    )


def reliability(
    confidence_N: Scores, correct_N: Flags, *, equal_mass: bool = False, num_bins: int = 15
) -> list[tuple[float, float, float]]:
    """Share of the pictures, mean confidence and accuracy of each bin that is not empty."""
    num = len(confidence_N)
    if equal_mass:
        place_N = np.empty(num, dtype=int)
        # Bins of equal size, but for the first num % num_bins, which hold one more.
        place_N[np.argsort(confidence_N, kind="stable")] = np.sort(np.arange(num) % num_bins)
    else:
        place_N = np.minimum((confidence_N * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(place_N)
    used = counts > 0
    counts = counts[used]
    confidence, accuracy = (np.bincount(place_N, weights)[used] / counts for weights in (confidence_N, correct_N))
    return list(zip((counts / num).tolist(), confidence.tolist(), accuracy.tolist(), strict=True))


def classwise_calibration_error(labels_N: Indices, probabilities_NK: Scores, *, num_bins: int = 15) -> float:
    """The calibration error of each class's probability, averaged over the classes.

    The highest probability can look calibrated although no class is, when errors of opposite sign cancel.
    """
    errors = [
        calibration_error(probabilities_NK[:, k], labels_N == k, num_bins=num_bins)
        for k in range(probabilities_NK.shape[1])
    ]
    return float(np.mean(errors))


def brier_score(labels_N: Indices, probabilities_NK: Scores) -> float:
    """Mean squared distance between the probabilities and the truth, summed over the classes; 0 is best, 2 worst."""
    truth_NK = np.eye(probabilities_NK.shape[1])[labels_N]
    return float(np.square(probabilities_NK - truth_NK).sum(axis=1).mean())


def specificity_at(sensitivity: float, malignant_N: Flags, scores_N: Scores) -> float:
    """The highest specificity of any threshold at which the sensitivity is at least ``sensitivity``."""
    needed = math.ceil(sensitivity * int(malignant_N.sum()) - 1e-9)
    threshold = np.sort(scores_N[malignant_N])[::-1][max(needed, 1) - 1]
    return float((scores_N[~malignant_N] < threshold).mean())


# The sensitivities that operating points are chosen for. ``dermatologist`` is the dermatologists' mean on 100 of the
# ISBI 2016 test pictures (Marchetti et al., 2018).
SENSITIVITIES = {"high-sensitivity": 0.95, "dermatologist": 0.82}


def operating_points(malignant_N: Flags, scores_N: Scores, *, measured_on: str) -> list[OperatingPoint]:
    """``balanced`` (highest SE + SP); ``high-sensitivity``, ``dermatologist`` (at least a given SE, then highest SP).

    Thresholds lie halfway between neighbouring scores, the lowest below all of them; a picture is referred when its
    score reaches the threshold.
    Raises ``ValueError`` when one of the two outcomes is not in the set.
    """
    if malignant_N.all() or not malignant_N.any():
        raise ValueError("operating points need malignant and benign pictures in the validation set")
    levels = np.unique(scores_N)
    thresholds = np.concatenate([levels[:1] / 2, (levels[1:] + levels[:-1]) / 2])
    measured = [rates(malignant_N, scores_N >= threshold) for threshold in thresholds]
    chosen = {"balanced": int(np.argmax([r.sensitivity + r.specificity for r in measured]))}
    for name, sensitivity in SENSITIVITIES.items():
        chosen[name] = max(i for i, r in enumerate(measured) if r.sensitivity >= sensitivity)
    return [
        measure(name, float(thresholds[i]), malignant_N, scores_N, measured_on=measured_on)
        for name, i in chosen.items()
    ]


def measure(
    name: str, threshold: float, malignant_N: Flags, scores_N: Scores, *, measured_on: str, chosen_on: str | None = None
) -> OperatingPoint:
    """The operating point at ``threshold``, with its sensitivity and specificity on these pictures.

    ``chosen_on`` names the set that chose the threshold, when it is another one.
    """
    referred_N = scores_N >= threshold
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=proportion(int((referred_N & malignant_N).sum()), int(malignant_N.sum())),
        specificity=proportion(int((~referred_N & ~malignant_N).sum()), int((~malignant_N).sum())),
        measured_on=measured_on,
        chosen_on=chosen_on,
    )


def predictive_values(point: OperatingPoint, prevalence: float) -> tuple[Interval, Interval]:
    """Positive and negative predictive value where ``prevalence`` of the lesions are malignant (Bayes' rule).

    The bounds take both rates at their lower and at their upper bound together, which is wider than 95 %.
    """

    def positive(sensitivity: float, specificity: float) -> float:
        referred = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
        return sensitivity * prevalence / referred if referred > 0 else 1.0

    def negative(sensitivity: float, specificity: float) -> float:
        kept = specificity * (1 - prevalence) + (1 - sensitivity) * prevalence
        return specificity * (1 - prevalence) / kept if kept > 0 else 1.0

    ends = [(getattr(point.sensitivity, end), getattr(point.specificity, end)) for end in ("value", "low", "high")]
    return (
        Interval(**dict(zip(("value", "low", "high"), (positive(*end) for end in ends), strict=True))),
        Interval(**dict(zip(("value", "low", "high"), (negative(*end) for end in ends), strict=True))),
    )


def proportion(successes: int, total: int) -> Interval:
    """A proportion with its 95 % interval (Wilson)."""
    low, high = wilson_interval(successes, total)
    return Interval(value=successes / total, low=low, high=high)
