"""The advice in words, as a report's conclusion has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.bundle import DiagnosisClass
from service.bundle.base import Interval
from service.prediction.decision import REASONS, Reason
from service.prediction.schemas import DecisionBody, Performance, Prediction

# Cancers of the skin that are named as unknown to every model without such a class.
_UNKNOWN = ("basal_cell_carcinoma", "squamous_cell_carcinoma")


def advice(refer: bool, classes: Sequence[DiagnosisClass]) -> str:
    """What to do, as a model with these ``classes`` advises it."""
    return "Referral advised" if refer else f"No referral advised{for_what(classes)}"


def for_what(classes: Sequence[DiagnosisClass]) -> str:
    """`` for melanoma`` where that is the only malignant class that was judged; else an empty string."""
    judged = [each.name.replace("_", " ") for each in classes if each.malignant]
    return f" for {judged[0]}" if len(judged) == 1 else ""


def risk_name(classes: Sequence[DiagnosisClass]) -> str:
    """What the malignant probability is called; it says nothing of lesions that the model does not know."""
    judged = [each.label for each in classes if each.malignant]
    return f"{judged[0]} risk" if len(judged) == 1 else "Risk of the malignant diagnoses that the model knows"


def limits(classes: Sequence[DiagnosisClass]) -> str:
    """What a model with these ``classes`` cannot recognise."""
    others = [name.replace("_", " ") for name in _UNKNOWN if all(each.name != name for each in classes)]
    known = ", ".join(each.label.lower() for each in classes)
    return f"It cannot recognise {', '.join(others)}{' or ' if others else ''}anything but: {known}."


def not_ruled_out(classes: Sequence[DiagnosisClass]) -> str:
    """What the absence of a referral does not say."""
    judged = " or ".join(each.label.lower() for each in classes if each.malignant)
    return f"does not rule out {judged}."


def conclusion(prediction: Prediction, classes: Sequence[DiagnosisClass]) -> str:
    """The advice first, then reasons for caution, the model's limits, and what testing found at the operating point.

    ``classes`` are those of the prediction's model. Without advice: the reasons alone, and no number. The most probable
    class is never part of it: that may be a benign one where a referral is advised.
    """
    decision = prediction.decision
    if decision.refer is None:
        return f"{no_assessment(decision)}. Nothing was assessed, and nothing is ruled out. {prediction.notice}"
    parts = [f"{advice(decision.refer, classes)}."]
    if not decision.refer:
        parts.append(f"This {not_ruled_out(classes)}")
    if decision.reasons:
        parts.append(f"Caution: {in_words(decision.reasons)}.")
    return " ".join([*parts, limits(classes), _tested(decision), prediction.notice])


def no_assessment(decision: DecisionBody) -> str:
    """That there is no advice, and why."""
    return f"No assessment, because the image is not suitable: {in_words(decision.abstained_because)}"


def in_words(reasons: Iterable[Reason]) -> str:
    """The reasons as a list."""
    return "; ".join(REASONS[reason] for reason in reasons)


def _tested(decision: DecisionBody) -> str:
    point, performance = decision.operating_point, decision.performance
    if performance is None:
        return f"Operating point {point}; its sensitivity and specificity are not known."
    rates = f"sensitivity {_rate(performance.sensitivity)}, specificity {_rate(performance.specificity)}"
    return f"Operating point {point}, tested on {_set(performance)}: {rates}."


def _set(performance: Performance) -> str:
    held_out = "held out" if performance.held_out else "which also chose the threshold, so the figures flatter"
    return f"{performance.measured_on}, {held_out}"


def _rate(rate: Interval) -> str:
    return f"{100 * rate.value:.1f} % (95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f})"
