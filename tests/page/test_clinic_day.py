"""A clinic's day with a ledger, and the next: twenty images of eight lesions, three visits, two histologies."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from icalendar import Calendar
from playwright.sync_api import Page, expect

from tests.page.browsing import Server, serving
from tests.page.conftest import Open
from tests.page.over_time import Colour, answer, overview, take, timeline
from tests.page.pictures import eventually
from tests.page.test_print import pages_of, paper
from tests.service.api.followed import repeatable_bundle
from tests.service.ledger.ledgers import checked

VISITS = ("2026-01-05", "2026-04-05", "")  # the last one is today
RED, REDDER, BLUE = (60, 20, 20), (255, 20, 20), (0, 90, 120)


def shade(colour: Colour, number: int) -> Colour:
    """Another image of nearly the same lesion."""
    return colour[0], colour[1] + number, colour[2]


# Of each lesion the images of its visits.
DAY: dict[str, list[list[Colour]]] = {
    "L-1": [[RED, shade(RED, 1)], [shade(RED, 2), shade(RED, 3)], [REDDER, shade(REDDER, 1)]],
    "L-2": [[shade(RED, 4)], [shade(RED, 5)], [shade(RED, 6)]],
    "L-3": [[BLUE], [shade(BLUE, 1)], [shade(BLUE, 2)]],
    "L-4": [[shade(RED, 7)], [shade(RED, 8)]],
    "L-5": [[shade(BLUE, 3)], [], [shade(BLUE, 4)]],
    "L-6": [[], [shade(REDDER, 2)], [shade(REDDER, 3)]],
    "L-7": [[], [], [shade(REDDER, 4)]],
    "L-8": [[shade(BLUE, 5)]],
}


def get(server: Server, path: str) -> Any:
    return httpx.get(f"{server.url}/v1/{path}").raise_for_status().json()


def saved(page: Page, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(name)).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_a_clinics_day_and_the_next(visit_to: Open, tmp_path: Path) -> None:
    bundle, kept = repeatable_bundle(tmp_path), tmp_path / "kept"
    with serving(bundle=bundle.folder, ledger=kept / "ledger.sqlite", audit=kept / "audit.jsonl") as server:
        before = first_day(visit_to, server, tmp_path)
    with serving(bundle=bundle.folder, ledger=kept / "ledger.sqlite", audit=kept / "audit.jsonl") as server:
        next_day(visit_to, server, before)
    verdict = checked(kept / "ledger.sqlite")
    assert (verdict.num_answers, verdict.num_feedback, verdict.num_erased) == (21, 4, 0)


def first_day(visit_to: Open, server: Server, folder: Path) -> dict[str, Any]:
    visit = visit_to(server.url)
    page = visit.page
    for lesion, visits in DAY.items():
        for day, colours in zip(VISITS, visits, strict=False):
            if colours:
                take(page, lesion, day, colours)
    expect(page.locator("#session .item")).to_have_count(20)
    items = {item["lesion"]: item for item in get(server, "lesions")["items"]}
    assert {name: item["num_images"] for name, item in items.items()} == {
        name: sum(map(len, visits)) for name, visits in DAY.items()
    }
    # As the service has them: their visits, and of each change what it may be called.
    for item in (items[name] for name in ("L-1", "L-3", "L-4", "L-7")):
        shown, told = timeline(visit, item["lesion"]), get(server, f"lesions/{item['lesion']}")
        assert [each["num_images"] for each in told["visits"]] == [len(each) for each in DAY[item["lesion"]] if each]
        changes = [change["verdict"] for seen in reversed(told["visits"]) for change in seen["changes"]]
        expect(shown.locator(".changes li")).to_have_count(len(changes))
        for line, called in zip(shown.locator(".changes li").all(), changes, strict=True):
            expect(line).to_contain_text({"none": "No change since", "higher": "Risk higher than on"}[called])
            expect(line).to_contain_text("differ by 5 pp in the median, and by up to 20 pp in 95 of 100")
        expect(shown.locator("article")).to_have_count(item["num_visits"])
        assert ("Risk higher" in shown.inner_text()) == (item["lesion"] == "L-1")
        assert "mm" not in shown.inner_text()
    # The clinician answers at the image, and in the timeline; histology comes for two lesions.
    page.locator("#session .open").filter(has_text="L-1").first.click()
    answer(page.locator(".follow"), opinion="Agree", next_visit="in 6 months")
    shown = timeline(visit, "L-1")
    shown.locator("article").first.locator(".unfold > summary").first.click()
    answer(shown.locator("article").first.locator(".word").first, histology="Melanoma")
    shown = timeline(visit, "L-4")
    shown.locator("article").last.locator(".unfold > summary").first.click()
    answer(shown.locator("article").last.locator(".word"), opinion="Disagree", histology="Naevus")
    page.emulate_media(media="print")
    expect(shown.get_by_text("No change since").first).to_be_visible()
    expect(shown.locator("form:visible, .actions:visible")).to_have_count(0)
    assert pages_of(paper(page, folder / "timeline.pdf")) == 1
    page.emulate_media(media="screen")
    # Leaving the tab, or emptying its list, takes nothing from the record.
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("#toast")).to_contain_text("What was recorded over time stays")
    page.goto("about:blank")
    eventually(lambda: len(get(server, "lesions")["items"]) == 8)
    return {
        path: get(server, path) for path in ("lesions", "worklist", "recalls", *(f"lesions/{name}" for name in DAY))
    }


def next_day(visit_to: Open, server: Server, before: dict[str, Any]) -> None:
    assert {path: get(server, path) for path in before} == before
    visit = visit_to(server.url)
    page = visit.page
    shown = overview(visit)
    waiting = before["worklist"]["items"]
    expect(shown.locator(".waiting")).to_have_count(len(waiting))
    assert {item["lesion"] for item in waiting} == {"L-1", "L-2", "L-4", "L-6", "L-7"}
    expect(shown.locator(".due").last.locator("li")).to_have_count(8)
    expect(shown.locator("h3").last).to_have_text("Lesions (8)")
    visit.inspect("next-day")
    # Feedback on an answer that has expired.
    assert httpx.get(f"{server.url}/v1/predictions/{waiting[0]['ids'][-1]}").status_code == 404
    line = shown.locator(".waiting").first
    line.locator("summary").click()
    answer(line, opinion="Unsure", diagnosis="Basal cell carcinoma")
    shown = overview(visit)
    expect(shown.locator(".waiting")).to_have_count(len(waiting) - 1)
    # Due: what was last seen three months ago or more. L-1 has histology, and is not recalled.
    due = [item for item in before["recalls"]["items"] if item["is_due"]]
    assert due
    table = list(csv.DictReader(saved(page, r"Recalls due .*: CSV").splitlines()))
    assert [(row["lesion"], row["due"]) for row in table] == [(item["lesion"], item["due"]) for item in due]
    page.get_by_label("Only those that are due").uncheck()
    everyone = before["recalls"]["items"]
    expect(shown.locator(".due").nth(1).locator("li")).to_have_count(len(everyone))
    events = Calendar.from_ical(saved(page, r"Recalls due .*: Calendar")).walk("VEVENT")
    assert [str(event.decoded("DTSTART")) for event in events] == [item["due"] for item in everyone]
    assert not {"L-1", "L-4"} & {item["lesion"] for item in everyone}
    assert len(list(csv.DictReader(saved(page, r"Waiting for a clinician .*: CSV").splitlines()))) == len(waiting) - 1
    # The lesion goes on where it ended.
    take(page, "L-2", str(datetime.now(UTC).date()), [shade(RED, 9)])
    page.locator(".follow").wait_for()
    expect(page.locator(".follow .changes")).to_contain_text("No change since")
