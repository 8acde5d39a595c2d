"""Convert probabilities to another prevalence of malignant lesions than the calibrated one, by Bayes' rule."""

from __future__ import annotations

from collections.abc import Mapping

# Closer to 0 or 1, rounding could move a converted probability across its converted threshold.
LEAST, MOST = 1e-6, 1 - 1e-6


def convert(probability: float, *, calibrated_for: float, prevalence: float) -> float:
    """A probability of malignancy, or a threshold, where ``prevalence`` of the lesions are malignant.

    The likelihood ratio is unchanged: odds' = odds * (odds of ``prevalence``) / (odds of ``calibrated_for``). With the
    threshold converted too the decision stays; rounding could reverse it where malignant lesions are rare.
    """
    malignant = probability * prevalence / calibrated_for
    benign = (1 - probability) * (1 - prevalence) / (1 - calibrated_for)
    return malignant / (malignant + benign)


def convert_shares(
    shares: Mapping[str, float], malignant: frozenset[str], *, calibrated_for: float, prevalence: float
) -> dict[str, float]:
    """The classes' probabilities; the ratios among malignant classes, and among benign ones, are unchanged."""
    odds = {
        name: share * (prevalence / calibrated_for if name in malignant else (1 - prevalence) / (1 - calibrated_for))
        for name, share in shares.items()
    }
    total = sum(odds.values())
    return {name: value / total for name, value in odds.items()}
