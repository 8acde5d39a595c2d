"""Bootstrap, DeLong's test, risk against coverage: held against slow literal versions and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from model_training.evaluation.statistics import (
    delong_test,
    implied_accuracy,
    interval_over_folds,
    risk_coverage,
    risk_coverage_area,
    stratified_resamples,
)


def drawn(seed: int, num: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and two related scores of which some tie."""
    rng = np.random.default_rng(seed)
    truth = rng.random(num) < 0.3
    shared = truth + rng.normal(0, 1, num)
    return truth, np.round(shared + rng.normal(0, 0.7, num), 1), np.round(shared + rng.normal(0, 0.4, num), 1)


def test_resamples_keep_the_classes_and_repeat_pictures() -> None:
    labels = np.array([0] * 5 + [1] * 30 + [2] * 65)
    resamples = list(stratified_resamples(labels, 50, seed=1))
    assert all(np.bincount(labels[r]).tolist() == [5, 30, 65] for r in resamples)
    assert np.mean([len(set(r.tolist())) for r in resamples]) == pytest.approx(100 * (1 - np.exp(-1)), rel=0.05)
    np.testing.assert_array_equal(resamples[3], list(stratified_resamples(labels, 50, seed=1))[3])


def psi(positive: float, negative: float) -> float:
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def literal_variance(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """DeLong's covariances by their definition, sum by sum."""
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    m, n = len(positives), len(negatives)
    v10 = [[sum(psi(s[i], s[j]) for j in negatives) / n for i in positives] for s in (first, second)]
    v01 = [[sum(psi(s[i], s[j]) for i in positives) / m for j in negatives] for s in (first, second)]
    aucs = [sum(v) / m for v in v10]

    def covariance(a: int, b: int) -> float:
        s10 = sum((v10[a][i] - aucs[a]) * (v10[b][i] - aucs[b]) for i in range(m)) / (m - 1)
        s01 = sum((v01[a][j] - aucs[a]) * (v01[b][j] - aucs[b]) for j in range(n)) / (n - 1)
        return s10 / m + s01 / n

    return covariance(0, 0) + covariance(1, 1) - 2 * covariance(0, 1)


@pytest.mark.parametrize("seed", range(4))
def test_delong_against_its_definition(seed: int) -> None:
    truth, first, second = drawn(seed, 60)
    test = delong_test(truth, first, second)
    assert test.difference == pytest.approx(roc_auc_score(truth, first) - roc_auc_score(truth, second))
    error = literal_variance(truth, first, second) ** 0.5
    assert (test.high - test.low) / 2 == pytest.approx(1.959964 * error, rel=1e-5)


def test_delong_agrees_with_the_bootstrap() -> None:
    truth, first, second = drawn(7, 400)
    test = delong_test(truth, first, second)
    differences = [
        roc_auc_score(truth[r], first[r]) - roc_auc_score(truth[r], second[r])
        for r in stratified_resamples(truth.astype(np.int64), 400, seed=0)
    ]
    assert (test.high - test.low) / (2 * 1.96) == pytest.approx(np.std(differences), rel=0.15)


def test_delong_rejects_one_time_in_twenty_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(80) < 30
    p = [delong_test(truth, truth + rng.normal(0, 1, 80), truth + rng.normal(0, 1, 80)).p for _ in range(600)]
    assert 0.025 < np.mean(np.array(p) < 0.05) < 0.085


def test_delong_without_a_difference_and_without_pictures() -> None:
    truth, first, _ = drawn(1)
    same = delong_test(truth, first, first)
    assert (same.difference, same.p) == (0.0, 1.0)
    with pytest.raises(ValueError, match="two images of each"):
        delong_test(np.array([True, False, False]), np.arange(3.0), np.arange(3.0))


def test_implied_accuracy() -> None:
    assert implied_accuracy(0.678, 0.869, 90, 510) == pytest.approx(0.84035)
    assert implied_accuracy(1.0, 0.0, 1, 3) == 0.25


def test_risk_against_coverage_by_hand() -> None:
    errors = np.array([True, False, False, True])
    confidence = np.array([0.1, 0.9, 0.8, 0.5])
    np.testing.assert_allclose(risk_coverage(errors, confidence), [0, 0, 1 / 3, 1 / 2])
    assert risk_coverage_area(errors, confidence) == pytest.approx(5 / 24)
    np.testing.assert_allclose(risk_coverage(errors, np.ones(4)), [0.5] * 4, err_msg="equal confidences say nothing")
    assert risk_coverage_area(errors, -confidence) > risk_coverage_area(errors, np.ones(4))


def test_the_interval_over_folds_is_the_t_test_where_folds_share_nothing() -> None:
    """With many folds, the held-out part is negligible against the training part."""
    gains = np.random.default_rng(4).normal(0.01, 0.02, 7)
    expected = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert interval_over_folds(gains, 10**9) == pytest.approx((expected.low, expected.high))


def test_the_interval_over_folds_is_wider_by_what_they_share() -> None:
    gains = np.array([0.02, 0.03, 0.01, 0.04, 0.03])
    alone, low = ttest_1samp(gains, 0).confidence_interval(0.95).low, interval_over_folds(gains, 5)[0]
    # Nadeau and Bengio: 1/J + n2/n1, here 1/5 + 1/4, in place of 1/J.
    assert (gains.mean() - low) / (gains.mean() - alone) == pytest.approx(np.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    with pytest.raises(ValueError, match="one fold"):
        interval_over_folds(gains[:1], 5)
