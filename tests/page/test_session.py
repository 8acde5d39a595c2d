"""Several images: the list of the tab, side by side, deleted."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from tests.page.browsing import Server
from tests.page.conftest import UPLOAD, Open, Visit
from tests.page.pictures import eventually


def read_both(visit: Visit) -> list[dict[str, object]]:
    """Both examples, oldest first: what the service answered."""
    answers = []
    for which in (0, 1):
        if which:
            visit.page.get_by_role("button", name="New image").click()
        with visit.page.expect_response(UPLOAD) as predicted:
            visit.example(which)
        answers.append(predicted.value.json())
    return answers


def view(page: Page, pane: int) -> list[float]:
    """Zoom and position of a pane: what the image's middle is moved by, in widths of the image."""
    measure = """(stage) => {
      const value = (name) => parseFloat(stage.style.getPropertyValue(name));
      const [x, scale, width, height] = ["--x", "--scale", "--width", "--height"].map(value);
      const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
      return [scale / fit, (stage.clientWidth / 2 - x) / (width * scale)];
    }"""
    return page.locator(".pane .stage").nth(pane).evaluate(measure)


def test_two_pictures_side_by_side(visit: Visit) -> None:
    page = visit.page
    first, second = read_both(visit)
    page.get_by_role("button", name="Compare").click()
    visit.inspect("compare")
    expect(page.locator(".pane .verdict")).to_have_text(["Refer", "No referral advised for melanoma"])
    expect(page.locator(".pane .at").first).to_contain_text("Operating point: Balanced")
    rows = {
        row.locator("th").inner_text().split()[0].lower().replace("naevus", "nevus"): row
        for row in page.locator(".differences tbody tr").all()
    }
    for name in ("melanoma", "nevus"):
        a, b = (answer["probabilities"][name] for answer in (first, second))  # type: ignore[index]
        assert rows[name].locator("td").nth(0).inner_text() == f"{a:.1%}"
        shown = float(rows[name].locator("td").last.inner_text().removesuffix(" pp"))
        assert shown == pytest.approx((b - a) * 100, abs=0.051)
    expect(page.locator("#comparison-figures")).to_contain_text("says nothing about growth")
    page.get_by_label("Map on both").select_option("spatial")
    expect(page.locator(".pane .overlay:visible")).to_have_count(2)
    expect(page.locator(".pane figcaption").last).to_contain_text("Spatial attention, both branches")
    page.locator(".pane").first.get_by_role("button", name="Zoom in").click()
    page.locator(".pane .stage").last.press("ArrowRight")
    left, right = view(page, 0), view(page, 1)
    assert left == pytest.approx(right)
    assert left[0] == pytest.approx(1.5)
    assert left[1] > 0.5
    page.locator(".pane select").last.select_option("1")
    expect(page.locator(".pane .verdict")).to_have_text(["Refer", "Refer"])
    page.get_by_role("button", name="Back to one image").click()
    expect(page.locator("#reading")).to_be_visible()


def test_a_picture_is_deleted_here_and_in_the_service(visit: Visit, server: Server) -> None:
    page = visit.page
    first, second = read_both(visit)
    expect(page.locator("#session .item")).to_have_count(2)
    page.clock.install()
    page.get_by_role("button", name="Image 1, an example, Refer").click()
    expect(page.locator(".decision h3")).to_have_text("Refer")
    page.get_by_role("button", name="Delete Image 1").click()
    expect(page.locator(".decision h3")).to_have_text("No referral advised for melanoma")
    address = f"{server.url}/v1/predictions/"
    assert httpx.get(address + str(first["id"])).status_code == 200
    page.clock.fast_forward(10_000)
    expect(page.locator("#status")).to_contain_text("deleted here and in the service")
    expect(page.locator("#toast")).to_be_hidden()
    assert httpx.get(address + str(first["id"])).status_code == 404
    assert httpx.get(address + str(second["id"])).status_code == 200
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("#start")).to_be_visible()
    expect(page.locator("#session")).to_be_hidden()
    page.goto("about:blank")  # leaving is final
    eventually(lambda: httpx.get(address + str(second["id"])).status_code == 404)


def test_a_deletion_is_undone(visit: Visit, server: Server) -> None:
    page = visit.page
    first, second = read_both(visit)
    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("#toast")).to_contain_text("All 2 deleted.")
    visit.inspect("undo")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#session .item")).to_have_count(2)
    page.get_by_role("button", name="Image 1, an example, Refer").click()
    visit.choose_map("Lesion")
    page.get_by_role("button", name="Delete Image 1").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".decision h3")).to_have_text("Refer")
    for answer in (first, second):
        assert httpx.get(f"{server.url}/v1/predictions/{answer['id']}").status_code == 200


def test_a_reference_stays_with_its_picture_and_nothing_old_is_printed(visit: Visit) -> None:
    page = visit.page
    visit.example()
    page.get_by_label("Reference").fill("Lesion 12")
    visit.unfold("clinic")
    page.locator("#point").select_option("dermatologist")
    expect(page.locator("#clinic summary")).to_contain_text("As dermatologists")
    expect(page.locator("#report")).to_contain_text("Lesion 12")
    page.get_by_role("button", name="New image").click()
    expect(page.locator("#report *")).to_have_count(0)
    visit.example(1)
    expect(page.get_by_label("Reference")).to_have_value("")
    expect(page.locator("#report")).not_to_contain_text("Lesion 12")
    page.get_by_role("button", name="Compare").click()
    page.emulate_media(media="print")
    expect(page.locator("#reading")).to_be_hidden()
    page.emulate_media(media="null")
    page.get_by_role("button", name="Delete all").click()
    for shown in ("#answer *", "#report *", ".pane option", ".pane img[src]", "#stage img[src]"):
        expect(page.locator(shown)).to_have_count(0)


def test_what_is_deleted_while_it_is_asked_for_again_stays_deleted(visit: Visit) -> None:
    page = visit.page
    read_both(visit)
    page.route("**/v1/predictions/*?*", lambda route: None)  # for ever
    visit.unfold("clinic")
    page.locator("#point").select_option("dermatologist")
    page.get_by_role("button", name="Delete Image 2").click()
    expect(page.locator(".decision h3")).to_have_text("Refer")
    expect(page.locator("#session .item")).to_have_count(1)
    expect(page.locator("#session .open")).to_be_focused()


def test_a_session_is_not_lost_without_a_warning(visit: Visit) -> None:
    page = visit.page
    asked: list[str] = []

    def accept(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", accept)
    page.reload()
    assert asked == []
    visit.example()
    page.reload()
    assert asked == ["beforeunload"]
    expect(page.locator("#session")).to_be_hidden()


def test_what_fails_beside_another_is_tried_again_itself(visit: Visit, server: Server) -> None:
    page = visit.page
    visit.watch.expected.add("404")
    first, _ = read_both(visit)
    httpx.delete(f"{server.url}/v1/predictions/{first['id']}").raise_for_status()
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("Map on both").select_option("spatial")
    expect(page.locator("#notice")).to_contain_text("no longer keeps this answer")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#reading-title")).to_contain_text("Image 1")
    expect(page.locator(".decision")).to_contain_text("Refer")


def test_an_answer_of_a_model_that_is_not_described_is_refused(visit: Visit) -> None:
    def other(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        answer["model"]["sha256"] = "0" * 64
        route.fulfill(response=response, json=answer)

    page = visit.page
    page.route(UPLOAD, other)
    page.locator(".example").first.click()
    expect(page.locator(".problem")).to_contain_text("model has just changed")
    page.unroute(UPLOAD)
    page.get_by_role("button", name="Try again").click()
    page.locator(".decision").wait_for()


def test_nothing_is_left_in_the_browser(visit: Visit) -> None:
    visit.example()
    visit.choose_map("Spatial")
    kept = """async () => ({
      local: localStorage.length, session: sessionStorage.length, cookies: document.cookie,
      databases: (await indexedDB.databases()).length, caches: "caches" in self ? (await caches.keys()).length : 0,
    })"""
    assert visit.page.evaluate(kept) == {"local": 0, "session": 0, "cookies": "", "databases": 0, "caches": 0}
    visit.page.reload()
    expect(visit.page.locator("#start")).to_be_visible()
    expect(visit.page.locator("#session")).to_be_hidden()


def test_both_themes_are_a_button_away(visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = visit.page.evaluate(ground)
    visit.page.get_by_role("button", name="Light or dark").click()
    dark = visit.page.evaluate(ground)
    visit.page.get_by_role("button", name="Light or dark").click()
    assert dark != before
    assert visit.page.evaluate(ground) == before


def test_a_theme_is_remembered_and_older_browsers_have_colours(visit: Visit) -> None:
    page = visit.page
    ground = "getComputedStyle(document.body).backgroundColor"
    for before in ("light", "dark"):
        page.emulate_media(color_scheme=before)
        page.get_by_role("button", name="Light or dark").click()
        chosen = page.evaluate(ground)
        page.reload()
        page.locator(".example").first.wait_for()
        assert page.evaluate(ground) == chosen
    # Of 2024 and later; without them a browser shows no colours at all.
    sheets = "[...document.styleSheets].flatMap(({ cssRules }) => [...cssRules]).map(({ cssText }) => cssText).join()"
    assert not re.search(r"light-dark\(|color-mix\(|oklab", page.evaluate(sheets))


def test_every_width_shows_everything_without_sideways_scrolling(visit: Visit) -> None:
    page = visit.page
    small = """() => [...document.querySelectorAll("button, input, select, summary, a")].flatMap((each) => {
      const { width, height } = (each.closest("label") ?? each).getBoundingClientRect();
      return width > 0 && (width < 24 || height < 24) && each.className !== "skip" ? [each.outerHTML] : [];
    })"""

    def check(name: str) -> None:
        for width in (320, 768, 1440, 2560, 3840):
            page.set_viewport_size({"width": width, "height": max(640, width * 9 // 16)})
            sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert sizes == [width, width], name
            assert page.evaluate(small) == []
            page.screenshot(path=visit.folder / f"{name}-{width}.jpg", type="jpeg", full_page=width < 1000)

    check("start")
    read_both(visit)
    visit.choose_map("Spatial")
    check("reading")
    page.get_by_role("button", name="Compare").click()
    check("compare")


def test_fingers_have_room(visit_to: Open, server: Server) -> None:
    visit = visit_to(server.url, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    page = visit.page
    small = """() => [...document.querySelectorAll("button, select, summary, input")].flatMap((each) => {
      const { width, height } = (each.closest("label, .choices label") ?? each).getBoundingClientRect();
      return width > 0 && (width < 43.5 || height < 43.5) ? [each.outerHTML, width, height] : [];
    })"""
    assert page.evaluate(small) == []
    visit.example()
    visit.unfold("clinic")
    visit.unfold("details")
    assert page.evaluate(small) == []
    page.get_by_role("button", name="New image").tap()
    visit.example(1)
    page.get_by_role("button", name="List").tap()
    assert page.evaluate(small) == []
