"""What the page's part over time says of its risks, of feedback, and in print."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.page.browsing import Server
from tests.page.conftest import Open
from tests.page.over_time import answer, files, overview, take

RED = (60, 20, 20)


def test_feedback_names_the_recorded_advice_where_another_operating_point_is_shown(
    visit_to: Open, clinic: Server
) -> None:
    visit = visit_to(clinic.url)
    page = visit.page
    take(page, "B-1", "", [RED])
    follow = page.locator(".follow")
    expect(follow).not_to_contain_text("recorded advice")
    visit.unfold("clinic")
    page.locator("#point").select_option("high-sensitivity")
    expect(follow).to_contain_text("recorded advice: Refer (Balanced)")
    answer(follow, opinion="Agree")
    page.locator("#point").select_option("balanced")
    expect(follow).not_to_contain_text("recorded advice")


def test_the_worklist_says_for_whom_its_risks_hold(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url)
    take(visit.page, "B-2", "", [RED])
    waiting = overview(visit).locator(".due").first
    expect(waiting.locator(".waiting", has_text="B-2")).to_contain_text("risk")
    expect(waiting).to_contain_text("whatever your clinic's share")


def test_nothing_over_time_is_printed_where_there_is_nothing(visit_to: Open, clinic: Server) -> None:
    page = visit_to(clinic.url).page
    page.set_input_files("#file", files(RED))
    follow = page.locator(".follow")
    expect(follow).to_be_visible()
    page.emulate_media(media="print")
    expect(follow).to_be_hidden()
    page.emulate_media(media="screen")
    answer(follow, opinion="Agree")
    page.emulate_media(media="print")
    expect(follow).to_be_visible()
    expect(follow.locator(".said")).to_be_visible()
