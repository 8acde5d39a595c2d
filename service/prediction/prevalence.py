"""Bayes' rule for another share of malignant lesions than the one that the probabilities were calibrated for."""

from __future__ import annotations

from collections.abc import Mapping

# Nearer to 0 or 1, rounding could put a converted probability on the other side of its converted threshold.
LEAST, MOST = 1e-6, 1 - 1e-6


def convert(probability: float, *, calibrated_for: float, prevalence: float) -> float:
    """A probability of malignancy, or a threshold, where ``prevalence`` of the lesions are malignant.

    The likelihood ratio stays: odds' = odds * (prevalence's odds) / (those it was calibrated for). A threshold that is
    converted as well leaves the decision as it was; rounding could reverse it where malignant lesions are rare.
    """
    malignant = probability * prevalence / calibrated_for
    benign = (1 - probability) * (1 - prevalence) / (1 - calibrated_for)
    return malignant / (malignant + benign)


def convert_shares(
    shares: Mapping[str, float], malignant: frozenset[str], *, calibrated_for: float, prevalence: float
) -> dict[str, float]:
    """The classes' probabilities; malignant classes keep their proportions to each other, and so do benign ones."""
    odds = {
        name: share * (prevalence / calibrated_for if name in malignant else (1 - prevalence) / (1 - calibrated_for))
        for name, share in shares.items()
    }
    total = sum(odds.values())
    return {name: value / total for name, value in odds.items()}
