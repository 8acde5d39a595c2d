"""How a model did in this clinic: sensitivity, specificity and calibration against what was found; pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist, fmean
from typing import Literal, get_args

from pydantic import Field

from service.bundle.base import Interval, Record
from service.ledger.entries import Answer, Feedback

# What an answer is compared with. Few lesions have histology, and those are the suspicious ones.
Truth = Literal["histology", "histology or diagnosis"]
# Edges of the groups of risk.
RISKS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)

_Z = NormalDist().inv_cdf(0.975)


class RiskGroup(Record):
    """The answers whose risk lies between two edges, the lower included; the last has both."""

    low: float = Field(description="lower edge of the malignant probability")
    high: float = Field(description="upper edge")
    num_answers: int = Field(description="answers in it")
    mean_risk: float | None = Field(description="mean malignant probability; null: none is in it")
    malignant: Interval | None = Field(description="share that was malignant")


class ModelRecord(Record):
    """One model version at one operating point, against one kind of truth."""

    model: str = Field(description="name and version")
    model_sha256: str = Field(description="of the bundle's manifest")
    operating_point: str = Field(description="its name")
    truth: Truth = Field(description="what the answers are compared with")
    num_answers: int = Field(description="answers with advice, of known truth")
    num_images: int = Field(description="different images among them")
    num_lesions: int = Field(description="different labelled lesions among them")
    num_without_advice: int = Field(description="further ones of known truth that got no advice")
    num_malignant: int = Field(description="of the answers")
    sensitivity: Interval | None = Field(description="share of the malignant ones that were referred; null: none was")
    specificity: Interval | None = Field(description="share of the benign ones that were not; null: none was")
    mean_risk: float = Field(description="mean malignant probability, as answered")
    malignant: Interval = Field(description="share that was malignant; the mean risk should lie within its interval")
    brier: float = Field(description="mean squared error of the malignant probability; 0 is perfect")
    brier_low: float = Field(description="lower bound of its 95 % interval")
    brier_high: float = Field(description="upper bound")
    groups: list[RiskGroup] = Field(description="calibration by groups of risk")


class FeedbackReport(Record):
    """Everything that clinicians said, counted."""

    num_answers: int = Field(description="answers in the ledger")
    num_with_feedback: int = Field(description="answers that a clinician said something of")
    opinions: dict[str, int] = Field(description="the last opinion on each answer, counted")
    models: list[ModelRecord] = Field(description="by model, operating point and kind of truth")


def feedback_report(entries: Sequence[Answer | Feedback]) -> FeedbackReport:
    """The report on all entries, in the order in which they were written. The last word on an answer counts."""
    answers = {(entry.client, entry.id): entry for entry in entries if isinstance(entry, Answer)}
    opinions: dict[tuple[str, str], str] = {}
    found: dict[Truth, dict[tuple[str, str], bool]] = {truth: {} for truth in get_args(Truth)}
    told: set[tuple[str, str]] = set()
    diagnosed, histology = found["histology or diagnosis"], found["histology"]
    for entry in entries:
        key = (entry.client, entry.id)
        if isinstance(entry, Answer) or key not in answers or not entry.answers:
            continue
        told.add(key)
        if entry.opinion is not None:
            opinions[key] = entry.opinion
        if entry.diagnosis_malignant is not None and key not in histology:
            diagnosed[key] = entry.diagnosis_malignant
        if entry.histology_malignant is not None:
            histology[key] = diagnosed[key] = entry.histology_malignant
    models = sorted(
        {(each.model, each.model_version, each.model_sha256, each.operating_point) for each in answers.values()}
    )
    records = []
    for truth, known in found.items():
        for model in models:
            of = [(each, known[key]) for key, each in answers.items() if key in known and _model_of(each) == model]
            if any(each.refer is not None for each, _ in of):
                records.append(_record(truth, of))
    return FeedbackReport(
        num_answers=len(answers),
        num_with_feedback=len(told),
        opinions=dict(Counter(opinions.values())),
        models=records,
    )


def _model_of(answer: Answer) -> tuple[str, str, str, str]:
    return answer.model, answer.model_version, answer.model_sha256, answer.operating_point


def _record(truth: Truth, answers: Sequence[tuple[Answer, bool]]) -> ModelRecord:
    advised = [(each, malignant) for each, malignant in answers if each.refer is not None]
    first = advised[0][0]
    risks = [(each.malignant_probability or 0.0, malignant) for each, malignant in advised]
    ill = [bool(each.refer) for each, malignant in advised if malignant]
    well = [not each.refer for each, malignant in advised if not malignant]
    brier, low, high = _mean_with_interval([(risk - malignant) ** 2 for risk, malignant in risks])
    return ModelRecord(
        model=f"{first.model} {first.model_version}",
        model_sha256=first.model_sha256,
        operating_point=first.operating_point,
        truth=truth,
        num_answers=len(advised),
        num_images=len({each.image_sha256 for each, _ in advised}),
        num_lesions=len({(each.client, each.lesion) for each, _ in advised if each.lesion is not None}),
        num_without_advice=len(answers) - len(advised),
        num_malignant=len(ill),
        sensitivity=wilson(sum(ill), len(ill)) if ill else None,
        specificity=wilson(sum(well), len(well)) if well else None,
        mean_risk=fmean(risk for risk, _ in risks),
        malignant=wilson(len(ill), len(advised)),
        brier=brier,
        brier_low=low,
        brier_high=high,
        groups=[_group(low, high, risks) for low, high in pairwise(RISKS)],
    )


def _group(low: float, high: float, risks: Sequence[tuple[float, bool]]) -> RiskGroup:
    last = high == RISKS[-1]
    within = [(risk, malignant) for risk, malignant in risks if low <= risk < high or (last and risk == high)]
    return RiskGroup(
        low=low,
        high=high,
        num_answers=len(within),
        mean_risk=fmean(risk for risk, _ in within) if within else None,
        malignant=wilson(sum(malignant for _, malignant in within), len(within)) if within else None,
    )


def wilson(successes: int, total: int) -> Interval:
    """A proportion with its 95 % score interval (Wilson 1927); ``total`` is at least 1."""
    share, square = successes / total, _Z**2 / total
    middle, half = share + square / 2, _Z * math.sqrt(share * (1 - share) / total + square / total / 4)
    low, high = ((middle + sign * half) / (1 + square) for sign in (-1, 1))
    return Interval(value=share, low=max(0.0, min(low, share)), high=min(1.0, max(high, share)))


def _mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval by the normal approximation, within 0 and 1; of one value: 0 to 1."""
    mean, num = fmean(values), len(values)
    if num < 2:
        return mean, 0.0, 1.0
    error = _Z * math.sqrt(sum((value - mean) ** 2 for value in values) / (num - 1) / num)
    return mean, max(0.0, mean - error), min(1.0, mean + error)
