"""Uncertainty of figures: bootstrap, DeLong's test, variance over folds, risk-coverage curves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from model_training.arrays import Flags, Indices, Scores
from model_training.metrics import Z_95

NUM_RESAMPLES = 2000


def stratified_resamples(labels_N: Indices, num_resamples: int, *, seed: int) -> Iterator[Indices]:
    """Bootstrap samples of the images, ``[N]`` each: drawn with replacement within every class."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]
    for _ in range(num_resamples):
        yield np.concatenate([m[rng.integers(len(m), size=len(m))] for m in members])


@dataclass(frozen=True)
class AucDifference:
    """Area under the ROC curve of one set of scores minus that of another, on the same images."""

    difference: float
    low: float
    high: float
    p: float


def delong_test(truth_N: Flags, first_N: Scores, second_N: Scores) -> AucDifference:
    """DeLong, DeLong and Clarke-Pearson (1988): the difference of two correlated AUCs, 95 % interval, two-sided p.

    Raises ``ValueError`` when one of the two outcomes has fewer than two images.
    """
    if min(int(truth_N.sum()), int((~truth_N).sum())) < 2:
        raise ValueError("the test needs two images of each outcome")
    positive_SP, negative_SN = _placements(truth_N, np.stack([first_N, second_N]))
    auc_S = positive_SP.mean(axis=1)
    covariance = np.cov(positive_SP) / positive_SP.shape[1] + np.cov(negative_SN) / negative_SN.shape[1]
    difference = float(auc_S[0] - auc_S[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = math.sqrt(max(variance, 0.0))
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else float(difference == 0)
    return AucDifference(difference, difference - Z_95 * error, difference + Z_95 * error, p)


def _placements(truth_N: Flags, scores_SN: Scores) -> tuple[Scores, Scores]:
    """The share of negatives below each positive, and of positives above each negative; ties count half."""
    positive, negative = scores_SN[:, truth_N], scores_SN[:, ~truth_N]
    wins = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    return wins.mean(axis=2), wins.mean(axis=1)


def interval_over_folds(gains_F: Scores, num_folds: int) -> tuple[float, float]:
    """95 % interval of the mean gain over some of the ``num_folds`` folds of one cross-validation.

    The variance over the folds includes the effect of the training and test images, but not of the seed, which is the
    same in all folds. It is corrected for the training images that folds share by the heuristic of Nadeau and Bengio
    (2003). Student's t has one degree of freedom less than there are folds. Raises ``ValueError`` for a single fold.
    """
    num = len(gains_F)
    if num < 2:
        raise ValueError("one fold has no spread")
    held_out_per_trained_on = 1 / (num_folds - 1)
    error = float(np.sqrt(gains_F.var(ddof=1) * (1 / num + held_out_per_trained_on)))
    reach = float(stdtrit(num - 1, 0.975)) * error
    return float(gains_F.mean()) - reach, float(gains_F.mean()) + reach


def implied_accuracy(sensitivity: float, specificity: float, num_positive: int, num_negative: int) -> float:
    """The accuracy that follows from a sensitivity and a specificity."""
    return (sensitivity * num_positive + specificity * num_negative) / (num_positive + num_negative)


def risk_coverage(errors_N: Flags, confidence_N: Scores) -> Scores:
    """The error rate among the n most confident answers, for n = 1 to N; equal confidences share their errors."""
    levels, group_N = np.unique(-confidence_N, return_inverse=True)
    mean_error = np.bincount(group_N, weights=errors_N) / np.bincount(group_N)
    assert len(mean_error) == len(levels)
    in_order = mean_error[np.sort(group_N)]
    return np.cumsum(in_order) / np.arange(1, len(in_order) + 1)


def risk_coverage_area(errors_N: Flags, confidence_N: Scores) -> float:
    """Area under the risk-coverage curve: lower when the confidence separates errors from correct answers better."""
    return float(risk_coverage(errors_N, confidence_N).mean())
