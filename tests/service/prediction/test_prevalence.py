"""Bayes' rule, against figures worked out by hand."""

from __future__ import annotations

import pytest

from service.prediction.prevalence import LEAST, MOST, convert, convert_shares


@pytest.mark.parametrize(
    ("probability", "calibrated_for", "prevalence", "expected"),
    [
        # Odds 2:3 at odds 1:3 are a likelihood ratio of 2; at odds 1:19 that makes 2:19.
        pytest.param(0.4, 0.25, 0.05, 2 / 21, id="rarer"),
        # Likelihood ratio 2 at odds 1:1.
        pytest.param(0.4, 0.25, 0.5, 2 / 3, id="more-common"),
        pytest.param(0.4, 0.25, 0.25, 0.4, id="the-same"),
        pytest.param(0.0, 0.25, 0.05, 0.0, id="impossible"),
        pytest.param(1.0, 0.25, 0.05, 1.0, id="certain"),
    ],
)
def test_by_hand(probability: float, calibrated_for: float, prevalence: float, expected: float) -> None:
    assert convert(probability, calibrated_for=calibrated_for, prevalence=prevalence) == pytest.approx(expected)


def test_there_and_back() -> None:
    there = convert(0.31, calibrated_for=0.2, prevalence=0.02)
    assert convert(there, calibrated_for=0.02, prevalence=0.2) == pytest.approx(0.31)


def test_shares_keep_their_proportions_and_sum_to_one() -> None:
    shares = {"melanoma": 0.3, "carcinoma": 0.1, "keratosis": 0.2, "nevus": 0.4}
    malignant = frozenset({"melanoma", "carcinoma"})
    found = convert_shares(shares, malignant, calibrated_for=0.25, prevalence=0.05)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    assert found["melanoma"] + found["carcinoma"] == pytest.approx(2 / 21, abs=1e-5)
    assert found["melanoma"] / found["carcinoma"] == pytest.approx(3, rel=1e-4)
    assert found["nevus"] / found["keratosis"] == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize("prevalence", [LEAST, 1e-3, 0.5, MOST])
def test_what_is_apart_by_its_last_digit_stays_in_order(prevalence: float) -> None:
    for lower in (0.0, 1e-6, 0.1, 0.4, 0.9, 0.999998):
        below, above = (convert(p, calibrated_for=0.2, prevalence=prevalence) for p in (lower, lower + 1e-6))
        assert below < above
