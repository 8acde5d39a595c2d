"""Temperatures and operating points, fitted on the validation set."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model_training.metrics import Flags, Scores, rates, wilson_interval
from service.bundle import Interval, OperatingPoint


def fit_temperature(logits_NK: Tensor, labels_N: Tensor) -> float:
    """The temperature that minimises the mean negative log-likelihood of softmax(logits / T)."""
    log_temperature = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(logits_NK / log_temperature.exp(), labels_N)
        value.backward()
        return value

    optimiser.step(loss)
    # Perfectly separated pictures would send it to zero or infinity.
    return float(log_temperature.detach().exp().clamp(0.05, 20.0))


def operating_points(malignant_N: Flags, scores_N: Scores, *, measured_on: str) -> list[OperatingPoint]:
    """``balanced`` (highest SE + SP) and ``high-sensitivity`` (SE of at least 0.95, then highest SP).

    Thresholds lie halfway between neighbouring scores; a picture is referred when its score reaches the threshold.
    Raises ``ValueError`` when one of the two outcomes is not in the set.
    """
    if malignant_N.all() or not malignant_N.any():
        raise ValueError("operating points need malignant and benign pictures in the validation set")
    levels = np.unique(scores_N)
    thresholds = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2])
    measured = [rates(malignant_N, scores_N >= threshold) for threshold in thresholds]
    balanced = int(np.argmax([r.sensitivity + r.specificity for r in measured]))
    sensitive = max(i for i, r in enumerate(measured) if r.sensitivity >= 0.95)
    chosen = {"balanced": thresholds[balanced], "high-sensitivity": thresholds[sensitive]}
    return [_measure(name, float(t), malignant_N, scores_N, measured_on) for name, t in chosen.items()]


def _measure(name: str, threshold: float, malignant_N: Flags, scores_N: Scores, measured_on: str) -> OperatingPoint:
    referred_N = scores_N >= threshold
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=_interval(int((referred_N & malignant_N).sum()), int(malignant_N.sum())),
        specificity=_interval(int((~referred_N & ~malignant_N).sum()), int((~malignant_N).sum())),
        measured_on=measured_on,
    )


def _interval(successes: int, total: int) -> Interval:
    low, high = wilson_interval(successes, total)
    return Interval(value=successes / total, low=low, high=high)
