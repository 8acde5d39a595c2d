"""One lesion over its visits: averages, and every change beside its measured repeatability; pure functions.

A change of risk below the 95th percentile of what two images of one lesion differ by is no change. Of a change in size
nothing is said but the figures, because how far two outlines of one lesion differ is not measured; and without a scale
not even these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from statistics import fmean
from typing import Literal

from pydantic import AwareDatetime, Field

from service.bundle.base import Probability, Record
from service.ledger.entries import Answer, Day, Extent, Feedback, Label, Opinion, RecallMonths, Repeats

Verdict = Literal["none", "higher", "lower", "not_measured", "not_comparable"]


class Size(Record):
    """How large the lesion is, as the network outlined it."""

    along_mm: float = Field(ge=0, description="longest diameter, mm")
    across_mm: float = Field(ge=0, description="width across it, mm")
    at_least: bool = Field(description="the lesion reaches an edge of an image, so part of it may be missing")


class SizeChange(Record):
    """How much larger (or smaller, below 0) the outline is."""

    along_mm: float = Field(description="of the longest diameter, mm")
    across_mm: float = Field(description="of the width across it, mm")
    verdict: Literal["not_measured"] = Field(
        "not_measured",
        description="how far the outlines of two images of one lesion differ is not measured, so the lesion cannot be "
        "said to have grown",
    )


class Change(Record):
    """What differs from an earlier visit, and whether it is more than two images of one lesion differ by."""

    since: Day = Field(description="date of the earlier visit")
    verdict: Verdict = Field(
        description="`none`: less than the 95th percentile of the repeatability, so no change; `not_measured`: the "
        "model's repeatability is not known; `not_comparable`: no model answered at both visits"
    )
    malignant_probability: float | None = Field(
        ge=-1, le=1, description="difference of the averages, -1 to 1; null when they are not comparable"
    )
    repeatability: Repeats | None = Field(description="of the model; null: not measured")
    size: SizeChange | None = Field(description="null without a scale at both visits")


class Said(Record):
    """What a clinician said of an image."""

    at: AwareDatetime = Field(description="UTC; when it was sent")
    opinion: Opinion | None = Field(description="on the advice")
    diagnosis: str | None = Field(description="the clinician's")
    histology: str | None = Field(description="the pathologist's diagnosis")
    date: Day = Field(description="of the opinion or the histology")
    recall_months: RecallMonths | None = Field(description="months to the next visit; 0: no recall")
    millimetres_per_pixel: float | None = Field(description="a pixel's side, mm, as measured on a ruler in the image")


class SeenImage(Record):
    """One image of a visit, as it was answered."""

    id: str = Field(description="of its prediction, which may have expired")
    at: AwareDatetime = Field(description="UTC; when it was answered")
    model: str = Field(description="name and version", examples=["cin-isic2017 2.1.0"])
    model_sha256: str = Field(description="of the bundle's manifest, in hexadecimal")
    operating_point: str = Field(description="its name")
    threshold: Probability = Field(description="of the malignant probability, 0 to 1")
    refer: bool | None = Field(description="whether a referral was advised; null: nothing was")
    malignant_probability: Probability | None = Field(description="0 to 1; null when nothing was advised")
    reasons: list[str] = Field(description="for caution, as in the prediction's `decision`")
    abstained_because: list[str] = Field(description="why nothing was advised")
    size: Size | None = Field(description="null without a scale, an outline or an assessment")
    feedback: list[Said] = Field(description="the oldest first")


class Visit(Record):
    """The images of one date."""

    visit: Day = Field(description="its date")
    num_images: int = Field(ge=1, description="images, with those that got no assessment")
    num_averaged: int = Field(ge=0, description="different images with an assessment by the visit's last model")
    malignant_probability: Probability | None = Field(description="their average, 0 to 1; null: none has an assessment")
    size: Size | None = Field(description="average of those with a scale")
    changes: list[Change] = Field(description="since the last visit with an assessment, and since the first one")
    images: list[SeenImage] = Field(description="in the order in which they were answered")


class Timeline(Record):
    """A lesion over its visits."""

    lesion: Label = Field(description="its label")
    visits: list[Visit] = Field(description="the earliest first")


def timeline(lesion: str, entries: Sequence[Answer | Feedback]) -> Timeline:
    """The timeline from all entries about a lesion's predictions, in the order in which they were written."""
    answers = list({entry.id: entry for entry in entries if isinstance(entry, Answer)}.values())
    said: dict[str, list[Feedback]] = {}
    for entry in entries:
        if isinstance(entry, Feedback):
            said.setdefault(entry.id, []).append(entry)
    by_visit: dict[date, list[SeenAnswer]] = {}
    for answer in answers:
        if answer.visit is not None:
            by_visit.setdefault(answer.visit, []).append(SeenAnswer(answer, said.get(answer.id, [])))
    visits: list[Visit] = []
    assessed: list[tuple[date, list[SeenAnswer]]] = []
    for day in sorted(by_visit):
        seen = by_visit[day]
        visits.append(_visit(day, seen, assessed))
        if visits[-1].num_averaged:
            assessed.append((day, seen))
    return Timeline(lesion=lesion, visits=visits)


class SeenAnswer:
    """An answer with what was said of it, and its size where there is a scale."""

    def __init__(self, answer: Answer, said: Sequence[Feedback]) -> None:
        self.answer, self.said = answer, said
        # What was measured on a ruler in the image counts before what a file states.
        scales = [answer.millimetres_per_pixel, *(each.millimetres_per_pixel for each in said)]
        self.size = _size(answer, next((scale for scale in reversed(scales) if scale is not None), None))

    def body(self) -> SeenImage:
        """The image as it is sent."""
        answer = self.answer
        shared = SeenImage.model_fields.keys() & Answer.model_fields.keys() - {"model"}
        return SeenImage(
            **{name: getattr(answer, name) for name in shared},
            model=f"{answer.model} {answer.model_version}",
            size=self.size,
            feedback=[Said(**{name: getattr(each, name) for name in Said.model_fields}) for each in self.said],
        )


def _size(answer: Answer, scale: float | None) -> Size | None:
    extent: Extent | None = answer.extent
    if scale is None or extent is None or answer.refer is None:
        return None
    at_least = "lesion_touches_border" in answer.reasons
    return Size(along_mm=extent.along * scale, across_mm=extent.across * scale, at_least=at_least)


def _visit(day: date, seen: Sequence[SeenAnswer], earlier: Sequence[tuple[date, list[SeenAnswer]]]) -> Visit:
    assessed = [each for each in seen if each.answer.malignant_probability is not None]
    model = assessed[-1].answer.model_sha256 if assessed else None
    averaged = _of_model(assessed, model)
    since = [] if not averaged else [earlier[at] for at in sorted({len(earlier) - 1, 0}, reverse=True) if earlier]
    return Visit(
        visit=day,
        num_images=len(seen),
        num_averaged=len(averaged),
        malignant_probability=_risk(averaged) if averaged else None,
        size=_mean_size(averaged),
        changes=[_change(then, before, averaged) for then, before in since],
        images=[each.body() for each in seen],
    )


def _of_model(seen: Iterable[SeenAnswer], model: str | None) -> list[SeenAnswer]:
    """The last answer of a model to each different image: one that was sent twice counts once."""
    assessed = [each for each in seen if each.answer.malignant_probability is not None]
    return list({e.answer.image_sha256: e for e in assessed if e.answer.model_sha256 == model}.values())


def _risk(averaged: Sequence[SeenAnswer]) -> float:
    return round(fmean(each.answer.malignant_probability or 0.0 for each in averaged), 6)


def _mean_size(averaged: Sequence[SeenAnswer]) -> Size | None:
    sizes = [each.size for each in averaged if each.size is not None]
    if not sizes:
        return None
    return Size(
        along_mm=round(fmean(size.along_mm for size in sizes), 3),
        across_mm=round(fmean(size.across_mm for size in sizes), 3),
        at_least=any(size.at_least for size in sizes),
    )


def _change(since: date, before: Sequence[SeenAnswer], now: Sequence[SeenAnswer]) -> Change:
    """What differs since an earlier visit, by the model of the later one."""
    last = now[-1].answer
    then = _of_model(before, last.model_sha256)
    repeatability = last.repeatability
    if not then:
        return Change(
            since=since, verdict="not_comparable", malignant_probability=None, repeatability=repeatability, size=None
        )
    difference = round(_risk(now) - _risk(then), 6)
    return Change(
        since=since,
        verdict=verdict_of(difference, repeatability),
        malignant_probability=difference,
        repeatability=repeatability,
        size=_size_change(_mean_size(then), _mean_size(now)),
    )


def verdict_of(difference: float, repeatability: Repeats | None) -> Verdict:
    """Whether a difference of two malignant probabilities is a change."""
    if repeatability is None:
        return "not_measured"
    if abs(difference) < repeatability.percentile_95_change or difference == 0:
        return "none"
    return "higher" if difference > 0 else "lower"


def _size_change(then: Size | None, now: Size | None) -> SizeChange | None:
    if then is None or now is None:
        return None
    return SizeChange(
        along_mm=round(now.along_mm - then.along_mm, 3), across_mm=round(now.across_mm - then.across_mm, 3)
    )
