"""What waits for a clinician, recalls, and both as files that other programs read."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from icalendar import Calendar

from service.ledger.entries import Answer, Feedback
from service.ledger.tables import cell, to_calendar, to_csv
from service.ledger.worklist import Recall, Recalls, WorkItem, lesions, months_after, recalls, worklist
from tests.service.ledger.ledgers import answer, feedback

TODAY = date(2026, 7, 1)
NOW = datetime(2026, 7, 1, 9, 30, tzinfo=UTC)


def waiting(*entries: Answer | Feedback) -> list[tuple[str | None, str]]:
    return [(item.lesion, item.advice) for item in worklist(entries).items]


def due(*entries: Answer | Feedback) -> list[tuple[int, str]]:
    return [(item.months, str(item.due)) for item in recalls(entries, TODAY).items]


def test_referrals_come_by_risk_then_what_was_not_assessed() -> None:
    entries = [
        answer("L-1", "2026-01-01", 0.5),
        answer("L-2", "2026-01-01", None),
        answer("L-3", "2026-01-01", 0.1),
        answer("L-4", "2026-01-01", 0.9),
        answer(None, risk=0.7),
    ]
    assert waiting(*entries) == [("L-4", "refer"), (None, "refer"), ("L-1", "refer"), ("L-2", "none")]


@pytest.mark.parametrize("said", [{"opinion": "unsure"}, {"diagnosis": "nevus"}, {"histology": "nevus"}])
def test_one_answer_is_enough_for_a_visit(said: dict[str, str]) -> None:
    images = [answer("L-1", "2026-01-01", risk) for risk in (0.5, 0.6)]
    assert waiting(*images) == [("L-1", "refer")]
    assert waiting(*images, feedback(images[0], millimetres_per_pixel=0.02)) == [("L-1", "refer")]
    assert waiting(*images, feedback(images[0], **said)) == []
    assert waiting(*images, feedback(images[0], **said), answer("L-1", "2026-02-01", 0.6)) == [("L-1", "refer")]


def test_a_second_image_may_be_assessed() -> None:
    assert waiting(answer("L-1", risk=None), answer("L-1", risk=0.1)) == []
    (item,) = worklist([answer("L-1", risk=None), answer("L-1", risk=0.1), answer("L-1", risk=0.5)]).items
    assert (item.advice, item.malignant_probability, len(item.ids)) == ("refer", 0.5, 3)


def test_an_answer_to_a_referral_belongs_to_the_image_that_was_referred() -> None:
    images = [answer("L-1", risk=risk) for risk in (0.5, 0.9, None, 0.1)]
    (item,) = worklist(images).items
    assert (item.malignant_probability, item.ids[0]) == (0.9, images[1].id)
    unsure = [answer("L-2", risk=0.1), answer("L-2", risk=0.05, refer=True)]
    (item,) = worklist(unsure).items
    assert item.ids[0] == unsure[1].id


def test_recalls_count_from_the_last_visit() -> None:
    seen = [answer("L-1", "2025-11-30"), answer("L-1", "2026-03-31")]
    assert due(*seen) == [(3, "2026-06-30"), (6, "2026-09-30"), (12, "2027-03-31")]
    assert [item.is_due for item in recalls(seen, TODAY).items] == [True, False, False]
    assert due(answer(None)) == []


def test_a_clinician_chooses_when_or_that_there_is_none() -> None:
    image = answer("L-1", "2026-01-01")
    assert [months for months, _ in due(image, feedback(image, recall_months=6))] == [6, 12]
    assert due(image, feedback(image, recall_months=0)) == []
    assert due(image, feedback(image, histology="nevus")) == []
    again = (feedback(image, histology="nevus"), feedback(image, recall_months=12))
    assert [months for months, _ in due(image, *again)] == [12]


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        ("2025-11-30", 3, "2026-02-28"),
        ("2027-11-30", 3, "2028-02-29"),
        ("2026-12-31", 6, "2027-06-30"),
        ("2024-02-29", 12, "2025-02-28"),
    ],
)
def test_months_end_where_a_month_is_short(day: str, months: int, later: str) -> None:
    assert str(months_after(date.fromisoformat(day), months)) == later
    # Another library's arithmetic.
    assert str((pd.Timestamp(day) + pd.DateOffset(months=months)).date()) == later


def test_lesions_are_listed_with_their_visits() -> None:
    entries = [answer("L-1", "2026-01-01"), answer("L-2", "2026-02-01"), answer("L-1", "2026-01-01"), answer(None)]
    found = [(item.lesion, item.num_visits, item.num_images) for item in lesions(entries).items]
    assert found == [("L-2", 1, 1), ("L-1", 1, 2)]


def test_another_calendar_library_reads_the_recalls() -> None:
    label = "2.25." + "1" * 59  # of 64 characters, so that its lines are folded
    found = recalls([answer(label, "2026-03-31"), answer("L-1", "2026-01-15")], TODAY)
    text = to_calendar(found.items, "clinic", NOW)
    assert max(len(line) for line in text.encode().split(b"\r\n")) <= 75
    events = Calendar.from_ical(text).walk("VEVENT")
    assert [(event.decoded("DTSTART"), str(event["SUMMARY"])) for event in events] == [
        (item.due, f"Recall: lesion {item.lesion}") for item in found.items
    ]
    assert len({str(event["UID"]) for event in events}) == 6
    assert {event.decoded("DTSTAMP") for event in events} == {NOW}


def test_a_later_visit_moves_an_event_instead_of_adding_one() -> None:
    entries = [answer("L-1", "2026-01-15"), answer("L-1", "2026-04-10")]
    before, after = (
        Calendar.from_ical(to_calendar(recalls(of, TODAY).items, "clinic", NOW)).walk("VEVENT")
        for of in (entries[:1], entries)
    )
    assert [event["UID"] for event in before] == [event["UID"] for event in after]
    assert all(int(old.get("SEQUENCE")) < int(new.get("SEQUENCE")) for old, new in zip(before, after, strict=True))


def test_tables_are_read_back() -> None:
    found = worklist([answer("L-1", risk=0.5), answer("L-1", risk=0.6), answer("L-2", risk=None)])
    first, second = csv.DictReader(io.StringIO(to_csv(WorkItem, found.items)))
    assert (first["lesion"], first["advice"], float(first["malignant_probability"])) == ("L-1", "refer", 0.6)
    assert first["ids"].split() == found.items[0].ids
    assert second["malignant_probability"] == ""
    assert next(csv.DictReader(io.StringIO(to_csv(Recall, recalls([answer("L-1")], TODAY).items))))["is_due"] == "true"
    assert to_csv(Recall, Recalls(items=[]).items).splitlines() == ["lesion,last_visit,months,due,is_due,chosen"]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", "\t=1", "＝1"])
def test_no_cell_is_a_formula(formula: str) -> None:
    assert cell(formula) == f"'{formula}"
