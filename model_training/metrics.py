"""The challenges' metrics on NumPy arrays, by the official scorer's definitions.

An undefined metric has the scorer's value (a rate over nothing is 1.0), or is NaN where the scorer fails: AUC with a
single class, average precision without a positive. AUC and average precision equal scikit-learn's to 1e-15; they are
our own because the bootstrap computes each 2,000 times per figure, and scikit-learn's take 20 times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_training.arrays import Flags, Indices, Scores

# 95 % of a normal distribution lies within this many standard deviations.
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Rates:
    """Accuracy, sensitivity and specificity of binary decisions."""

    accuracy: float
    sensitivity: float
    specificity: float


def area_under_roc(truth_N: Flags, scores_N: Scores) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counting half; NaN of one
    class.
    """
    num_positive = int(truth_N.sum())
    num_negative = len(truth_N) - num_positive
    if num_positive == 0 or num_negative == 0:
        return math.nan
    _, group, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mean_rank[group][truth_N].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def class_aucs(labels_N: Indices, scores_NK: Scores, classes: Sequence[int]) -> Scores:
    """The AUC of each of these classes against the rest; NaN of one that has no image, or all."""
    return np.array([area_under_roc(labels_N == k, scores_NK[:, k]) for k in classes])


def average_precision(truth_N: Flags, scores_N: Scores) -> float:
    """Average precision, step-wise: the sum of (R_n - R_{n-1}) P_n over falling thresholds, ties as one step.

    NaN without a positive.
    """
    num_positive = int(truth_N.sum())
    if num_positive == 0:
        return math.nan
    order = np.argsort(-scores_N, kind="stable")
    last_of_tie = np.append(np.diff(scores_N[order]) != 0, True)
    true_positives = np.cumsum(truth_N[order])[last_of_tie]
    chosen = np.flatnonzero(last_of_tie) + 1
    steps = np.diff(true_positives, prepend=0) / num_positive
    return float(np.sum(steps * true_positives / chosen))


def rates(truth_N: Flags, decisions_N: Flags) -> Rates:
    """Accuracy, sensitivity and specificity; a rate over no images is 1.0."""
    return Rates(
        accuracy=_share(truth_N == decisions_N),
        sensitivity=_share(decisions_N[truth_N]),
        specificity=_share(~decisions_N[~truth_N]),
    )


def _share(flags_N: Flags) -> float:
    return float(flags_N.mean()) if len(flags_N) else 1.0


def argmax_decisions(probabilities_NK: Scores) -> Flags:
    """The paper's rule: the class of highest probability is positive, ``[N, K]``."""
    num_classes = probabilities_NK.shape[1]
    return np.asarray(probabilities_NK.argmax(axis=1)[:, None] == np.arange(num_classes))


def threshold_decisions(probabilities_NK: Scores) -> Flags:
    """The challenges' rule: every class with a probability above 0.5 is positive, ``[N, K]``."""
    return np.asarray(probabilities_NK > 0.5)


def jaccard(found: Flags, truth: Flags) -> float:
    """Intersection over union of two masks of equal shape; two empty masks agree."""
    union = int(np.logical_or(found, truth).sum())
    return int(np.logical_and(found, truth).sum()) / union if union else 1.0


def box_iou(first_N4: Scores, second_N4: Scores) -> Scores:
    """Intersection over union of boxes (x0, y0, x1, y1), ``[N]``; boxes without area have none."""
    low = np.maximum(first_N4[:, :2], second_N4[:, :2])
    high = np.minimum(first_N4[:, 2:], second_N4[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(box[:, 2:] - box[:, :2], 0, None), axis=1) for box in (first_N4, second_N4)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """95 % score interval (Wilson 1927) of a proportion; (0, 1) when ``total`` is 0."""
    if total == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
