"""The page's part over time: offered with a ledger alone, careful in its words, and usable by everybody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image, ImageDraw
from playwright.sync_api import Route, expect

from service.access.keys import create_key
from service.ledger.entries import OTHER_DIAGNOSES
from tests.page.browsing import Server, serving
from tests.page.conftest import UPLOAD, Open, Visit
from tests.page.over_time import answer, files, overview, take, timeline
from tests.page.test_accessibility import WIDTHS, violations
from tests.page.test_scale import click_at
from tests.service.tiny_bundle import CLASSES, picture_bytes

RED, REDDER, BLUE = (60, 20, 20), (255, 20, 20), (0, 90, 120)
# Of growth and change, in each language of the page.
GROWN = re.compile(r"gr[eo]wn?\b|growth|gewachsen|wachstum|crec", re.IGNORECASE)
CHANGED = {"en": "higher|lower", "de": "höher|niedriger", "es": "más alto|más bajo"}
SMALL = """() => [...document.querySelectorAll("button, select, summary, input")].flatMap((each) => {
  const { width, height } = (each.closest("label:not(.named), .choices label") ?? each).getBoundingClientRect();
  return width > 0 && (width < 43.5 || height < 43.5) ? [each.outerHTML, width, height] : [];
})"""


def seen(server: Server, lesion: str) -> list[dict[str, Any]]:
    """The lesion's visits, as the service has them."""
    visits: list[dict[str, Any]] = httpx.get(f"{server.url}/v1/lesions/{lesion}").raise_for_status().json()["visits"]
    return visits


def test_nothing_of_it_is_offered_or_loaded_without_a_ledger(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.reload()
    visit.example()
    expect(visit.page.locator("#follow")).to_be_hidden()
    assert visit.page.locator(".follow, .next").count() == 0
    assert asked
    assert not [url for url in asked if "time" in url.rpartition("/web/")[2]]


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_every_state_is_accessible_at_every_width(visit_to: Open, clinic: Server, language: str) -> None:
    visit = visit_to(clinic.url, locale=language, reduced_motion="reduce")
    page = visit.page
    widths = {"de": WIDTHS, "en": (320, 1280), "es": (320,)}[language]  # German words are the longest
    for day, colour in (("2026-01-05", RED), ("2026-04-05", REDDER)):
        take(page, f"{language}.2.25.{'9' * 39}", day, [colour])  # as long as a TrackingUID
    page.evaluate(AXE_SCRIPT)
    page.evaluate("for (const each of document.querySelectorAll('.unfold')) each.open = true")
    page.locator(".follow .changes").wait_for()
    found = violations(page, "answer", widths)
    page.locator("#new").click()
    found += violations(page, "start", widths)
    shown = overview(visit)
    shown.locator(".waiting summary").first.click()
    found += violations(page, "overview", widths)
    shown.locator(".due").last.locator(".link").first.click()
    page.locator(".visits").wait_for()
    page.evaluate("for (const each of document.querySelectorAll('.unfold')) each.open = true")
    page.evaluate("for (const each of document.querySelectorAll('.unfold')) each.open = true")
    found += violations(page, "timeline", widths)
    assert not found, "\n".join(found)
    visit.inspect(f"timeline-{language}")


def test_fingers_have_room(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    page = visit.page
    assert page.evaluate(SMALL) == []
    take(page, "F-1", "", [RED])
    assert page.evaluate(SMALL) == []
    overview(visit)
    page.evaluate("for (const each of document.querySelectorAll('.unfold')) each.open = true")
    page.locator(".word").first.wait_for()
    assert page.evaluate(SMALL) == []
    timeline(visit, "F-1")
    assert page.evaluate(SMALL) == []


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_less_than_the_repeatability_is_no_change_and_nothing_grows(
    visit_to: Open, clinic: Server, language: str
) -> None:
    visit = visit_to(clinic.url, locale=language)
    page = visit.page
    take(page, "W-1", "2026-01-05", [RED])
    repeats = {"median_change": 0.05, "percentile_95_change": 0.2}
    larger = {"along_mm": 2.5, "across_mm": 0.5, "verdict": "not_measured"}
    given = [("none", 0.19), ("higher", 0.3), ("lower", -0.3), ("not_measured", 0.5), ("not_comparable", None)]

    def told(route: Route) -> None:
        response = route.fetch()
        body: dict[str, Any] = response.json()
        change = {"since": "2025-01-05", "size": larger}
        body["visits"][0]["size"] = {"along_mm": 6.5, "across_mm": 4.0, "at_least": False}
        body["visits"][0]["changes"] = [
            change | {"verdict": verdict, "malignant_probability": by, "repeatability": repeats if by else None}
            for verdict, by in given
        ]
        route.fulfill(response=response, json=body)

    page.route("**/v1/lesions/W-1", told)
    overview(visit).locator(".due").last.locator(".link", has_text="W-1").click()
    lines = page.locator(".changes li")
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        expect(lines).to_have_count(len(given))
        said = dict(zip([verdict for verdict, _ in given], lines.all_inner_texts(), strict=True))
        called = {verdict for verdict, words in said.items() if re.search(CHANGED[language], words)}
        assert called == {"higher", "lower"}
        assert all("20" in said[verdict] and "5" in said[verdict] for verdict in ("none", "higher", "lower"))
        assert not GROWN.search(page.locator("#time").inner_text())
    expect(page.locator(".changes .none .risk-mark")).to_be_visible()


def test_millimetres_agree_with_a_ruler_in_the_image(visit_to: Open, clinic: Server) -> None:
    """A lesion of 6.4 mm above a ruler of 10 mm, which is 200 of 256 pixels long."""
    visit = visit_to(clinic.url)
    page = visit.page
    image = Image.new("RGB", (256, 256), (230, 200, 190))
    draw = ImageDraw.Draw(image)
    draw.ellipse((64, 64, 192, 192), fill=(120, 20, 20))
    draw.line((28, 245, 228, 245), fill=(90, 90, 90))
    page.locator(".next .lesion").fill("R-1")
    page.set_input_files("#file", {"name": "r.png", "mimeType": "image/png", "buffer": picture_bytes(image)})
    page.locator(".follow").wait_for()
    assert seen(clinic, "R-1")[0]["size"] is None
    page.get_by_text("Scale and size").click()
    page.get_by_role("button", name="Calibrate on the ruler").click()
    page.locator("#stage").scroll_into_view_if_needed()
    click_at(page, 28 / 256, 245.5 / 256)
    click_at(page, 228 / 256, 245.5 / 256)
    page.get_by_label("Distance between both marks").fill("10")
    page.get_by_role("button", name="Use", exact=True).click()
    page.get_by_role("button", name="Keep the calibrated scale").click()
    expect(page.get_by_role("button", name="Keep the calibrated scale")).to_have_count(0)
    size = seen(clinic, "R-1")[0]["size"]
    assert (size["along_mm"], size["across_mm"]) == (pytest.approx(6.4, abs=0.2), pytest.approx(6.4, abs=0.2))
    words = timeline(visit, "R-1").inner_text()
    shown = re.search(r"about ([\d.]+) × ([\d.]+) mm", words)
    assert shown is not None, words
    assert [float(each) for each in shown.groups()] == pytest.approx([size["along_mm"], size["across_mm"]], abs=0.051)


def test_a_lesion_is_named_afterwards_by_keyboard_and_what_was_said_goes_along(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url)
    page = visit.page
    with page.expect_response(UPLOAD) as predicted:
        page.set_input_files("#file", files(RED))
    old = predicted.value.json()["id"]
    answer(page.locator(".follow"), opinion="Disagree", histology="Naevus")
    field = page.locator(".follow .lesion")
    field.fill("Anna")  # a name
    field.press("Enter")
    assert field.evaluate("(field) => field.validity.patternMismatch")
    field.fill("K-1")
    field.press("Enter")
    expect(page.locator(".follow strong").first).to_have_text("K-1")
    (visited,) = seen(clinic, "K-1")
    (image,) = visited["images"]
    assert [(said["opinion"], said["histology"]) for said in image["feedback"]] == [("disagree", "nevus")]
    assert httpx.get(f"{clinic.url}/v1/predictions/{old}").status_code == 404
    expect(page.locator(".follow .said")).to_contain_text("Disagree")
    # Corrected, with what was said elsewhere meanwhile.
    said = {"histology": "melanoma", "date": "2026-01-20"}
    httpx.post(f"{clinic.url}/v1/predictions/{image['id']}/feedback", json=said).raise_for_status()
    page.locator(".follow").get_by_text("Change lesion or visit").click()
    field.fill("K-2")
    field.press("Enter")
    expect(page.locator(".follow strong").first).to_have_text("K-2")
    (image,) = seen(clinic, "K-2")[0]["images"]
    assert [(each["histology"], each["date"]) for each in image["feedback"]][1:] == [("melanoma", "2026-01-20")]
    assert httpx.get(f"{clinic.url}/v1/lesions/K-1").status_code == 404
    # The next image of it, and of none.
    page.get_by_role("button", name="Another image of this lesion").click()
    expect(page.locator(".next .lesion")).to_have_value("K-2")
    page.locator("#list, #session .open").last.click()
    page.set_input_files("#file", files(REDDER))  # while the choice is not seen
    expect(page.locator("#session .item:is(.refer)")).to_have_count(2)
    assert len(seen(clinic, "K-2")[0]["images"]) == 1


def test_a_key_opens_it_and_its_files(visit_to: Open, clinic: Server, tmp_path: Path) -> None:
    keys, bundle = tmp_path / "keys.json", clinic.service.scheduler.bundle.folder
    key = create_key(keys, "clinic", announce=lambda _: None)
    with serving(bundle=bundle, keys=keys, ledger=tmp_path / "ledger.sqlite") as server:
        visit = visit_to(server.url, "401")
        page = visit.page
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        page.locator(".next").wait_for()
        take(page, "S-1", "2026-01-05", [RED])
        answer(page.locator(".follow"), opinion="Agree")
        overview(visit)
        with page.expect_download() as download:
            page.get_by_role("button", name="Calendar").click()
        assert "lesion S-1" in Path(download.value.path()).read_text(encoding="utf-8")
        page.goto("about:blank")


def test_a_name_is_no_label_and_no_image_is_sent(visit_to: Open, clinic: Server) -> None:
    page = visit_to(clinic.url).page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.locator(".next .lesion").fill("Anna Mueller")
    page.set_input_files("#file", files(RED))
    expect(page.locator(".next .lesion")).to_be_focused()
    expect(page.locator("#session")).to_be_hidden()
    assert sent == []


def test_what_was_not_written_down_is_still_in_the_form(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url, "net::ERR_INTERNET_DISCONNECTED")
    page = visit.page
    take(page, "O-1", "", [RED])
    form = page.locator(".follow")
    form.get_by_role("button", name="Write down").click()
    expect(form.locator(".refused")).to_contain_text("Choose an opinion")
    page.context.set_offline(True)
    form.get_by_role("radio", name="Unsure").check()
    form.get_by_role("button", name="Write down").click()
    expect(form.locator(".refused")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    form.get_by_role("button", name="Write down").click()
    expect(form.locator(".said")).to_contain_text("Unsure")
    assert [said["opinion"] for said in seen(clinic, "O-1")[0]["images"][0]["feedback"]] == ["unsure"]


def test_every_diagnosis_is_offered_and_a_lesion_is_deleted(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url, "404")
    page = visit.page
    take(page, "D-1", "2026-01-05", [RED, REDDER])
    page.locator("#session .open").first.click()
    values = page.locator(".follow select").first.locator("option").evaluate_all("(all) => all.map(({value}) => value)")
    assert set(values) == {"", *CLASSES, *OTHER_DIAGNOSES}
    shown = timeline(visit, "D-1")
    shown.locator(".image .unfold > summary").first.click()
    shown.get_by_text("Delete this image's record").first.click()
    shown.get_by_role("button", name="Delete this image's record").click()
    expect(shown.locator(".image")).to_have_count(1)
    shown.get_by_text("Delete this lesion").click()
    shown.get_by_role("button", name="Delete everything of D-1").click()
    expect(page.locator("#time-title")).to_have_text("Over time")
    assert httpx.get(f"{clinic.url}/v1/lesions/D-1").status_code == 404


def test_a_second_image_moves_the_average_at_the_first_one_too(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url)
    page, changes = visit.page, visit.page.locator(".follow .changes")
    take(page, "A-1", "2026-01-05", [RED])
    take(page, "A-1", "", [REDDER])
    expect(changes).to_contain_text("Risk higher")
    take(page, "A-1", "", [(60, 21, 20), (60, 22, 20), (60, 23, 20)])
    page.locator("#session .item").first.click()  # the one of the highest risk
    expect(changes).to_contain_text("No change")


def test_an_answer_from_the_worklist_is_about_the_image_that_was_referred(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url)
    take(visit.page, "A-2", "", [REDDER, BLUE])
    waits = overview(visit).locator(".waiting", has_text="A-2")
    waits.locator("summary").click()
    answer(waits.locator(".word"), opinion="Agree", histology="Melanoma")
    (day,) = seen(clinic, "A-2")
    assert {image["refer"]: len(image["feedback"]) for image in day["images"]} == {True: 1, False: 0}


def test_what_was_said_outlives_a_lost_reply_when_a_lesion_is_renamed(visit_to: Open, clinic: Server) -> None:
    visit = visit_to(clinic.url, "net::ERR_FAILED")
    page = visit.page
    take(page, "A-3", "", [RED])
    answer(page.locator(".follow .word"), histology="Melanoma")
    page.route("**/v1/predictions/*", lambda route: (route.fetch(), route.abort()))  # DELETE alone
    page.locator(".follow summary", has_text="Change lesion").click()
    page.locator(".follow form.entry .lesion").fill("A-4")
    page.get_by_role("button", name="Change lesion or visit").click()
    expect(page.locator(".follow strong").first).to_have_text("A-4")
    (day,) = seen(clinic, "A-4")
    assert [said["histology"] for said in day["images"][0]["feedback"]] == ["melanoma"]
