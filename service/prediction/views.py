"""A kept prediction as a request asks for it: operating point, prevalence, figures; pure functions.

The prediction is kept whole, at the operating point of its request and at the calibrated prevalence. A view needs
neither the image nor the network.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.bundle import Manifest, OperatingPoint
from service.prediction.decision import REASONS, Reason, judge
from service.prediction.prevalence import convert, convert_shares
from service.prediction.schemas import BranchProbabilities, DecisionBody, Performance, Prediction

# Reasons that depend on the probabilities.
_OF_FIGURES: frozenset[Reason] = frozenset({"branches_disagree", "not_sure", "near_threshold", "near_not_sure"})


class ViewError(ValueError):
    """The prediction cannot be shown in this way; the text says why."""


@dataclass(frozen=True)
class View:
    """``prevalence`` of malignant lesions (None: as calibrated); ``raw``: with figures even when no advice is given."""

    prevalence: float | None = None
    raw: bool = False


def show(prediction: Prediction, manifest: Manifest, view: View) -> Prediction:
    """The prediction as a client gets it. Raises as :func:`calibrated_prevalence` does."""
    if view.prevalence is not None:
        prediction = at_prevalence(prediction, manifest, view.prevalence)
    return prediction if view.raw else without_unfit_figures(prediction)


def calibrated_prevalence(manifest: Manifest) -> float:
    """The prevalence that the probabilities are calibrated for. Raises :class:`ViewError` when the bundle has none."""
    prevalence = manifest.malignant_prevalence
    if prevalence is None or not 0 < prevalence < 1:
        raise ViewError("this model does not say for which prevalence its probabilities are calibrated")
    return prevalence


def without_unfit_figures(prediction: Prediction) -> Prediction:
    """Without advice, remove the diagnosis, the probabilities and reasons that reveal them: they may reassure
    falsely."""
    if prediction.decision.status != "abstained":
        return prediction
    reasons = [reason for reason in prediction.decision.reasons if reason not in _OF_FIGURES]
    decision = prediction.decision.model_copy(update={"malignant_probability": None, "reasons": reasons})
    nothing = {"diagnosis": None, "probabilities": None, "branches": None}
    return prediction.model_copy(update={**nothing, "decision": decision})


def at_point(prediction: Prediction, manifest: Manifest, point: OperatingPoint) -> Prediction:
    """A kept prediction at another operating point: threshold, referral, and the reasons that depend on them."""
    decision, shares = prediction.decision, prediction.probabilities
    malignant = decision.malignant_probability
    assert malignant is not None  # of a kept prediction
    assert shares is not None
    refer, named = judge([shares[each.name] for each in manifest.classes], malignant, manifest, point)
    for reason in _OF_FIGURES - {"branches_disagree"}:
        decision = _with_reason(decision, reason, reason in named)
    judged = decision.model_copy(
        update={
            "operating_point": point.name,
            "performance": Performance.of(point),
            "threshold": point.threshold,
            "refer": None if decision.refer is None else refer,
        }
    )
    return prediction.model_copy(update={"decision": judged})


def _with_reason(decision: DecisionBody, reason: Reason, holds: bool) -> DecisionBody:
    """Add or remove a reason for caution, and update the status."""
    named = {*decision.reasons, reason} if holds else {*decision.reasons} - {reason}
    reasons = [each for each in REASONS if each in named]
    status = decision.status if decision.refer is None else "caution" if reasons else "ok"
    return decision.model_copy(update={"reasons": reasons, "status": status})


def at_prevalence(prediction: Prediction, manifest: Manifest, prevalence: float) -> Prediction:
    """A kept prediction where ``prevalence`` of the lesions are malignant: probabilities and threshold by Bayes' rule.

    The referral does not change. Each branch is converted separately, so their mean is no longer ``probabilities``.
    Raises as :func:`calibrated_prevalence` does.
    """
    calibrated_for = calibrated_prevalence(manifest)
    malignant = frozenset(c.name for c in manifest.classes if c.malignant)
    decision = prediction.decision
    assert decision.malignant_probability is not None  # of a kept prediction
    assert prediction.probabilities is not None
    assert prediction.branches is not None

    def converted(share: float) -> float:
        return convert(share, calibrated_for=calibrated_for, prevalence=prevalence)

    def shares(of: dict[str, float]) -> dict[str, float]:
        return convert_shares(of, malignant, calibrated_for=calibrated_for, prevalence=prevalence)

    probabilities = shares(prediction.probabilities)
    branches = [shares(branch.probabilities) for branch in prediction.branches]
    disagree = len({_most_probable(of) for of in branches}) > 1
    return prediction.model_copy(
        update={
            "diagnosis": _most_probable(probabilities),
            "probabilities": probabilities,
            "branches": [BranchProbabilities(probabilities=of) for of in branches],
            "decision": _with_reason(decision, "branches_disagree", disagree).model_copy(
                update={
                    "prevalence": prevalence,
                    "malignant_probability": converted(decision.malignant_probability),
                    "threshold": converted(decision.threshold),
                }
            ),
        }
    )


def _most_probable(shares: dict[str, float]) -> str:
    return max(shares, key=shares.__getitem__)
