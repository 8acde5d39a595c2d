"""Temperature and operating points, fitted on labelled images, and measures of calibration.

The weighted loss of Eqn 4 makes all classes equally frequent, so the network's softmax overstates rare ones.
Multiplying by each class's share of the training set corrects that without fitting; the temperature corrects over- or
underconfidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_training.arrays import Flags, Indices, Scores
from model_training.metrics import rates, wilson_interval
from service.bundle import DiagnosisClass, Interval, NotSure, OperatingPoint, is_unsure


class Calibration(NamedTuple):
    """The parameters of a branch's probabilities, softmax(z / T + log_prevalence), given its logits z."""

    temperature_N: Tensor
    log_prevalence_K: Tensor

    def as_lists(self) -> dict[str, list[float]]:
        """The parameters as JSON fields."""
        return {"temperature": self.temperature_N.tolist(), "log_prevalence": self.log_prevalence_K.tolist()}


def fit_calibration(logits_BNK: Tensor, labels_B: Tensor, *, fitted_at_K: Tensor, used_at_K: Tensor) -> Calibration:
    """Fit the temperature of all branches on labelled images, for use at another class prevalence.

    ``fitted_at_K`` shifts the logits to the prevalence of these images, ``used_at_K`` to that of later use: otherwise
    the temperature would also correct for the prevalence, and be wrong at another one.
    """
    temperature = fit_temperature(logits_BNK, labels_B, fitted_at_K)
    return Calibration(torch.full((logits_BNK.shape[1],), temperature), used_at_K)


def fit_temperature(logits_BNK: Tensor, labels_B: Tensor, log_prevalence_K: Tensor) -> float:
    """The temperature that minimises the mean negative log-likelihood of the branches' mean probability.

    A branch's probabilities are softmax(logits / T + log_prevalence). The mean of separately calibrated branches would
    be underconfident.
    """
    logits_BNK = logits_BNK.clone()  # inference tensors have no gradients
    num_branches = logits_BNK.shape[1]
    log_temperature = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        branches = (logits_BNK / log_temperature.exp() + log_prevalence_K).log_softmax(dim=2)
        value = torch.nn.functional.nll_loss(branches.logsumexp(dim=1) - math.log(num_branches), labels_B)
        value.backward()
        return value

    optimiser.step(loss)
    # With perfectly separated images it would go to zero or infinity.
    return float(log_temperature.detach().exp().clamp(0.05, 20.0))


def calibration_error(confidence_N: Scores, correct_N: Flags, *, equal_mass: bool = False, num_bins: int = 15) -> float:
    """Expected calibration error: the mean distance between confidence and accuracy, over bins of the confidence.

    The bins are of equal width, or, with ``equal_mass``, hold equally many images. Between 0 and 1.
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
    """Share of the images, mean confidence and accuracy of each bin that is not empty."""
    num = len(confidence_N)
    if equal_mass:
        place_N = np.empty(num, dtype=int)
        # Bins of equal size; the first num % num_bins have one more.
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

    The highest probability can look calibrated although no class is, because errors of opposite sign cancel.
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


DEFAULT_POINT = "balanced"

# The sensitivities that operating points are chosen for. ``dermatologist`` is the dermatologists' mean on 100 of the
# ISBI 2016 test images (Marchetti et al., 2018).
SENSITIVITIES = {"high-sensitivity": 0.95, "dermatologist": 0.82}


def operating_points(malignant_N: Flags, scores_N: Scores, *, measured_on: str) -> list[OperatingPoint]:
    """``balanced`` (highest SE + SP); ``high-sensitivity``, ``dermatologist`` (at least a given SE, then highest SP).

    Thresholds lie halfway between neighbouring scores, the lowest below all of them; an image is referred when its
    score reaches the threshold.
    Raises ``ValueError`` when one of the two outcomes is not in the set.
    """
    if malignant_N.all() or not malignant_N.any():
        raise ValueError("operating points need malignant and benign images in the validation set")
    levels = np.unique(scores_N)
    thresholds = np.concatenate([levels[:1] / 2, (levels[1:] + levels[:-1]) / 2])
    measured = [rates(malignant_N, scores_N >= threshold) for threshold in thresholds]
    chosen = {DEFAULT_POINT: int(np.argmax([r.sensitivity + r.specificity for r in measured]))}
    for name, sensitivity in SENSITIVITIES.items():
        chosen[name] = max(i for i, r in enumerate(measured) if r.sensitivity >= sensitivity)
    return [
        measure(name, float(thresholds[i]), malignant_N, scores_N, measured_on=measured_on)
        for name, i in chosen.items()
    ]


def measure(
    name: str,
    threshold: float,
    malignant_N: Flags,
    scores_N: Scores,
    *,
    measured_on: str,
    chosen_on: str | None = None,
    unsure_N: Flags | None = None,
) -> OperatingPoint:
    """The operating point at ``threshold``, with its sensitivity and specificity on these images.

    ``chosen_on`` names the set that chose the threshold, when it is another one; ``unsure_N`` are referred whatever
    their scores.
    """
    referred_N = scores_N >= threshold
    if unsure_N is not None:
        referred_N = referred_N | unsure_N
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=proportion(int((referred_N & malignant_N).sum()), int(malignant_N.sum())),
        specificity=proportion(int((~referred_N & ~malignant_N).sum()), int((~malignant_N).sum())),
        measured_on=measured_on,
        chosen_on=chosen_on,
    )


def choose_referrals(
    malignant_N: Flags,
    scores_N: Scores,
    probabilities_NK: Scores,
    classes: Sequence[DiagnosisClass],
    *,
    chosen_on: str,
    with_rule: bool,
) -> tuple[list[OperatingPoint], NotSure | None]:
    """The operating points and, with ``with_rule``, the "not sure" rule for use with the default one."""
    points = operating_points(malignant_N, scores_N, measured_on=chosen_on)
    if not with_rule:
        return points, None
    default = next(point for point in points if point.name == DEFAULT_POINT)
    referred_N = (scores_N >= default.threshold) | is_unsure(probabilities_NK, None, classes)
    return points, choose_not_sure(probabilities_NK, malignant_N, referred_N, chosen_on=chosen_on)


# The share of benign images that the "not sure" rule may refer in addition.
NOT_SURE_COST = 0.07


def choose_not_sure(
    probabilities_NK: Scores, malignant_N: Flags, referred_N: Flags, *, chosen_on: str, cost: float = NOT_SURE_COST
) -> NotSure | None:
    """The rule that refers the least certain images, with at most the share ``cost`` of the benign ones in addition.

    ``referred_N`` are referred without it. None when it cannot refer a single image.
    """
    num_benign = int((~malignant_N).sum())
    largest = np.sort(probabilities_NK[~malignant_N & ~referred_N].max(axis=1))
    allowed = min(int(cost * num_benign + 1e-9), len(largest) - 1)
    if allowed < 1 or largest[allowed - 1] == largest[allowed]:
        return None
    least = float((largest[allowed - 1] + largest[allowed]) / 2)
    return NotSure(least_probability=least, chosen_on=chosen_on, cost=proportion(allowed, num_benign))


def predictive_values(point: OperatingPoint, prevalence: float) -> tuple[Interval, Interval]:
    """Positive and negative predictive value where ``prevalence`` of the lesions are malignant (Bayes' rule).

    The bounds combine the lower, and the upper bounds of both rates, which is wider than 95 %.
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
