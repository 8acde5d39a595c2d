"""How far probabilities can be believed, and where to draw the line between referring and not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_curve

from model_training.data.isic import CLASSES_2017, DIAGNOSES
from model_training.evaluation.calibration import (
    SENSITIVITIES,
    brier_score,
    calibration_error,
    choose_not_sure,
    measure,
    operating_points,
    predictive_values,
    reliability,
    specificity_at,
)
from service.bundle import DiagnosisClass, is_unsure

KNOWN = [DIAGNOSES[name] for name in CLASSES_2017]


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    malignant = rng.random(200) < 0.25
    return malignant, 1 / (1 + np.exp(-(2 * malignant - 1 + rng.normal(0, 1, 200))))


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False])
    assert calibration_error(confidence, correct) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert calibration_error(np.array([1.0, 1.0]), np.array([False, False])) == 1.0


def test_believable_probabilities_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.4, 1.0, 20_000)
    correct = rng.random(20_000) < confidence
    for equal_mass in (False, True):
        assert calibration_error(confidence, correct, equal_mass=equal_mass) < 0.02
        assert calibration_error(np.sqrt(confidence), correct, equal_mass=equal_mass) > 0.08


def test_bins_of_equal_mass_hold_equally_many() -> None:
    bins = reliability(np.random.default_rng(1).random(300), np.ones(300, dtype=bool), equal_mass=True)
    assert [share for share, _, _ in bins] == pytest.approx([1 / 15] * 15)


def test_brier_score_against_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet([1, 1, 1], 50)
    labels = rng.integers(0, 3, 50)
    by_class = sum(brier_score_loss(labels == k, probabilities[:, k]) for k in range(3))
    assert brier_score(labels, probabilities) == pytest.approx(by_class)


def test_operating_points_keep_their_sensitivity(scored: tuple[np.ndarray, np.ndarray]) -> None:
    malignant, scores = scored
    points = {point.name: point for point in operating_points(malignant, scores, measured_on="here")}
    assert list(points) == ["balanced", "high-sensitivity", "dermatologist"]
    false_positive, true_positive, _ = roc_curve(malignant, scores)
    for name, sensitivity in SENSITIVITIES.items():
        assert points[name].sensitivity.value >= sensitivity
        best = 1 - false_positive[true_positive >= sensitivity].min()
        assert points[name].specificity.value == pytest.approx(best), "no threshold has a higher specificity"
        assert specificity_at(sensitivity, malignant, scores) == pytest.approx(best)
    youden = points["balanced"].sensitivity.value + points["balanced"].specificity.value - 1
    assert youden == pytest.approx((true_positive - false_positive).max())


def test_a_threshold_is_measured_on_another_set(scored: tuple[np.ndarray, np.ndarray]) -> None:
    malignant, scores = scored
    point = measure("balanced", 0.5, malignant[:50], scores[:50], measured_on="fifty")
    assert point.sensitivity.value == pytest.approx((scores[:50][malignant[:50]] >= 0.5).mean())
    assert point.specificity.value == pytest.approx((scores[:50][~malignant[:50]] < 0.5).mean())
    assert (point.threshold, point.measured_on) == (0.5, "fifty")


def test_the_rule_for_unsure_answers_costs_what_it_may() -> None:
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet([0.4, 0.4, 1.0], 400)
    malignant = rng.random(400) < 0.2
    referred = probabilities[:, 0] >= 0.3
    rule = choose_not_sure(probabilities, malignant, referred, chosen_on="here", cost=0.05)
    assert rule is not None
    unsure = is_unsure(probabilities, rule, KNOWN)
    num_benign = int((~malignant).sum())
    more = int((unsure & ~referred & ~malignant).sum())
    assert more == int(0.05 * num_benign)
    assert rule.cost.value == pytest.approx(more / num_benign)
    with_rule = measure("balanced", 0.3, malignant, probabilities[:, 0], measured_on="here", unsure_N=unsure)
    without = measure("balanced", 0.3, malignant, probabilities[:, 0], measured_on="here")
    assert without.specificity.value - with_rule.specificity.value == pytest.approx(more / num_benign)
    assert with_rule.sensitivity.value >= without.sensitivity.value
    assert choose_not_sure(probabilities[:5], malignant[:5], referred[:5], chosen_on="here", cost=0.05) is None


def test_no_answer_is_unsure_without_a_rule() -> None:
    assert not is_unsure([[0.34, 0.33, 0.33]], None, KNOWN).any()


def test_an_answer_of_unknown_role_is_unsure() -> None:
    """Whatever its probability, where it is the likeliest."""
    classes = [*KNOWN, DiagnosisClass(name="other", label="Other", role="unknown")]
    assert is_unsure([[0.1, 0.1, 0.2, 0.6], [0.1, 0.1, 0.5, 0.3]], None, classes).tolist() == [True, False]


def test_predictive_values_by_counting() -> None:
    """SE 0.8 and SP 0.9 of 1,000 lesions, 50 of them malignant: 40 of 135 referred are; 10 of 865 others are."""
    malignant = np.repeat([True, False], [100, 100])
    scores = np.concatenate([np.repeat([0.9, 0.1], [80, 20]), np.repeat([0.9, 0.1], [10, 90])])
    point = measure("p", 0.5, malignant, scores, measured_on="here")
    positive, negative = predictive_values(point, 0.05)
    assert positive.value == pytest.approx(40 / 135)
    assert negative.value == pytest.approx(855 / 865)
    assert positive.low < positive.value < positive.high
    assert negative.low < negative.value < negative.high
    assert predictive_values(point, 1.0)[0].value == 1.0
