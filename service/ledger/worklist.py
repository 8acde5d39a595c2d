"""What waits for a clinician, and which lesions are due for a recall; pure functions."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import date
from typing import Literal, get_args

from pydantic import AwareDatetime, Field

from service.bundle.base import Probability, Record
from service.ledger.entries import Answer, Day, Feedback, Label, RecallMonths

# Months after the last visit. Attendance falls from 84 % at three months to 30 % at twelve, so each is a reminder.
REMINDERS = tuple(months for months in get_args(RecallMonths) if months)


class LesionSummary(Record):
    """A lesion that has a label."""

    lesion: Label = Field(description="its label")
    first_visit: Day = Field(description="date of the first visit")
    last_visit: Day = Field(description="date of the last visit")
    num_visits: int = Field(ge=1, description="visits")
    num_images: int = Field(ge=1, description="images of all visits")


class Lesions(Record):
    """The lesions that have labels."""

    items: list[LesionSummary] = Field(description="the one seen last first")


class WorkItem(Record):
    """A lesion at one visit, or an image without a label, that no clinician has answered."""

    lesion: Label | None = Field(description="its label; null: the image has none")
    visit: Day = Field(description="date of the visit, or without a label that of the answer (UTC)")
    advice: Literal["refer", "none"] = Field(
        description="`refer`: for one of its images at least; `none`: none of them could be assessed"
    )
    malignant_probability: Probability | None = Field(description="highest of its images, 0 to 1; null: no assessment")
    ids: list[str] = Field(
        description="of the predictions, first the one that gives this advice: an answer to it belongs there; "
        "feedback on one of them is enough"
    )
    answered_at: AwareDatetime = Field(description="UTC; when the last of its images was answered")


class Worklist(Record):
    """What waits for a clinician."""

    items: list[WorkItem] = Field(description="referrals by risk, the highest first; then those without assessment")


class Recall(Record):
    """A date at which a lesion should be seen again."""

    lesion: Label = Field(description="its label")
    last_visit: Day = Field(description="from which the months are counted")
    months: Literal[3, 6, 12] = Field(description="after the last visit")
    due: date = Field(description="the date")
    is_due: bool = Field(description="whether it is that date, or later (UTC)")
    chosen: bool = Field(description="whether a clinician chose when to begin; otherwise it is three months")


class Recalls(Record):
    """When lesions should be seen again."""

    items: list[Recall] = Field(description="by date; a visit begins a lesion's dates again")


def lesions(entries: Sequence[Answer | Feedback]) -> Lesions:
    """All lesions that have labels, from all entries of one client."""
    visits: dict[str, list[date]] = {}
    for answer in _answers(entries):
        if answer.lesion is not None and answer.visit is not None:
            visits.setdefault(answer.lesion, []).append(answer.visit)
    items = [
        LesionSummary(
            lesion=lesion, first_visit=min(days), last_visit=max(days), num_visits=len(set(days)), num_images=len(days)
        )
        for lesion, days in visits.items()
    ]
    return Lesions(items=sorted(items, key=lambda item: (-item.last_visit.toordinal(), item.lesion)))


def worklist(entries: Sequence[Answer | Feedback]) -> Worklist:
    """What was referred or not assessed, and has no clinician's answer, from all entries of one client."""
    answered = {entry.id for entry in entries if isinstance(entry, Feedback) and entry.answers}
    groups: dict[tuple[str, date], list[Answer]] = {}
    for answer in _answers(entries):
        day = answer.visit or answer.at.date()
        groups.setdefault((answer.lesion or f"id {answer.id}", day), []).append(answer)
    items = [_item(day, group) for (_, day), group in groups.items() if not answered & {each.id for each in group}]
    order = sorted(
        (item for item in items if item is not None),
        key=lambda item: (item.malignant_probability is None, -(item.malignant_probability or 0.0), item.visit),
    )
    return Worklist(items=order)


def _item(day: date, answers: Sequence[Answer]) -> WorkItem | None:
    """None where an image was assessed and no referral is advised."""
    refers = any(answer.refer for answer in answers)
    if not refers and any(answer.refer is not None for answer in answers):
        return None
    risks = [each.malignant_probability for each in answers if each.malignant_probability is not None]
    return WorkItem(
        lesion=answers[0].lesion,
        visit=day,
        advice="refer" if refers else "none",
        malignant_probability=max(risks, default=None),
        ids=[each.id for each in sorted(answers, key=_strength, reverse=True)],
        answered_at=max(each.at for each in answers),
    )


def _strength(answer: Answer) -> tuple[bool, float]:
    return bool(answer.refer), answer.malignant_probability or 0.0


def recalls(entries: Sequence[Answer | Feedback], today: date) -> Recalls:
    """All dates of recall, from all entries of one client.

    A lesion is recalled three, six and twelve months after its last visit; later ones alone where a clinician chose
    them, and not at all after "no recall" or histology, until a clinician chooses again.
    """
    visits: dict[str, date] = {}
    lesion_of: dict[str, str] = {}
    for answer in _answers(entries):
        if answer.lesion is not None and answer.visit is not None:
            lesion_of[answer.id] = answer.lesion
            visits[answer.lesion] = max(answer.visit, visits.get(answer.lesion, answer.visit))
    chosen: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, Feedback) and (lesion := lesion_of.get(entry.id)) is not None:
            if entry.recall_months is not None:
                chosen[lesion] = entry.recall_months
            elif entry.histology is not None:
                chosen[lesion] = 0
    items = [
        Recall(lesion=lesion, last_visit=last, months=months, due=due, is_due=due <= today, chosen=lesion in chosen)
        for lesion, last in visits.items()
        for months in REMINDERS
        if 0 < chosen.get(lesion, REMINDERS[0]) <= months
        for due in [months_after(last, months)]
    ]
    return Recalls(items=sorted(items, key=lambda item: (item.due, item.lesion)))


def months_after(day: date, months: int) -> date:
    """The same day of a later month, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _answers(entries: Sequence[Answer | Feedback]) -> list[Answer]:
    """The answers; one that was given twice under one id counts once."""
    return list({entry.id: entry for entry in entries if isinstance(entry, Answer)}.values())
