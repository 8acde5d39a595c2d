"""The page shows why there is no answer, and keeps the image."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from service.access.keys import create_key
from service.api.routes.page import WEB
from service.bundle import Bundle
from service.prediction.decision import REASONS
from service.problems import PROBLEM_TYPES
from tests.page.browsing import Server, serving
from tests.page.conftest import UPLOAD, Open, Visit
from tests.service.tiny_bundle import picture_bytes

# The page asks for nothing that could be answered so; an internal error is the unknown one.
NEVER_SEEN = {
    *("method-not-allowed", "head-too-large", "internal-error", "foreign-site", "not-acceptable"),
    *("no-ledger", "no-jobs", "jobs-full", "pacs-away", "pacs-refused", "pacs-failed"),
}


def upload(visit: Visit, data: bytes, media_type: str) -> None:
    visit.page.set_input_files("#file", {"name": "lesion", "mimeType": media_type, "buffer": data})


@pytest.mark.parametrize(
    ("status", "data", "media_type", "said"),
    [
        ("415", b"no picture at all", "text/plain", "this is text"),
        ("415", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic", "HEIC photo"),
        ("422", picture_bytes(Image.new("RGB", (20, 20))), "image/png", "20 x 20 pixels; each side needs 32"),
        ("422", (WEB / "examples" / "ISIC_0013793.jpg").read_bytes()[:5000], "image/jpeg", "truncated or corrupt"),
        ("413", picture_bytes(Image.new("L", (8000, 6000))), "image/png", "40,000,000"),
    ],
    ids=["text", "HEIC", "tiny", "truncated", "flood"],
)
def test_a_refusal_says_why_and_what_to_do(visit: Visit, status: str, data: bytes, media_type: str, said: str) -> None:
    page = visit.page
    visit.watch.expected.add(status)
    upload(visit, data, media_type)
    expect(page.locator(".problem")).to_contain_text(said)
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    visit.inspect(f"refused-{status}")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose another image").click()
    chooser.value.set_files(WEB / "examples" / "ISIC_0013793.jpg")
    expect(page.locator(".decision")).to_contain_text("No referral advised")


def test_a_full_service_is_asked_again_after_a_countdown(visit_to: Open, tiny_bundle: Bundle) -> None:
    with serving(bundle=tiny_bundle.folder, queue_size=1) as server:
        visit = visit_to(server.url, "429")
        with server.service.admission.enter("another") as entry:
            entry.take_slots()
            visit.page.locator(".example").first.click()
            expect(visit.page.locator(".progress")).to_contain_text("The service is busy; sent again in")
            expect(visit.page.locator("#status")).to_contain_text("busy")
            expect(visit.page.locator("#stage .picture")).to_be_visible()
            visit.inspect("busy")
        visit.page.locator(".decision").wait_for()  # by itself
        visit.page.goto("about:blank")


def test_a_service_that_no_longer_trusts_itself(visit_to: Open, tiny_bundle: Bundle) -> None:
    with serving(bundle=tiny_bundle.folder) as server:
        visit = visit_to(server.url, "503")
        server.service.health.fail("the canary image failed")
        visit.page.locator(".example").first.click()
        expect(visit.page.locator(".problem")).to_contain_text("not ready")
        expect(visit.page.get_by_role("button", name="Try again")).to_be_visible()
        visit.page.goto("about:blank")


def test_without_a_network_the_picture_waits(visit: Visit) -> None:
    page = visit.page
    visit.watch.expected.add("net::ERR_INTERNET_DISCONNECTED")
    visit.example(0)
    page.context.set_offline(True)
    page.locator("#maps label", has_text="Spatial").click()
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    visit.inspect("offline-map")
    page.get_by_role("button", name="New image").click()
    upload(visit, (WEB / "examples" / "ISIC_0013793.jpg").read_bytes(), "image/jpeg")
    expect(page.locator(".problem")).to_contain_text("cannot be reached")
    expect(page.locator("#stage .picture")).to_be_visible()
    visit.inspect("offline")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".decision")).to_contain_text("No referral advised")


def test_an_example_without_a_network_is_tried_again(visit: Visit) -> None:
    page = visit.page
    visit.watch.expected |= {"net::ERR_INTERNET_DISCONNECTED", "503"}
    page.context.set_offline(True)
    page.locator(".example").first.click()
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.route("**/examples/*", lambda route: route.fulfill(status=503))
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#notice")).to_be_visible()
    page.unroute("**/examples/*")
    page.get_by_role("button", name="Try again").click()
    page.locator(".decision").wait_for()


def test_an_expired_answer_is_asked_for_again(visit: Visit, server: Server) -> None:
    page = visit.page
    visit.watch.expected.add("404")
    with page.expect_response(UPLOAD) as predicted:
        visit.example()
    httpx.delete(f"{server.url}/v1/predictions/{predicted.value.json()['id']}").raise_for_status()
    page.locator("#maps label", has_text="Spatial").click()
    expect(page.locator("#notice")).to_contain_text("no longer keeps this answer")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#stage")).to_be_focused()
    expect(page.locator("#notice")).to_be_hidden()
    visit.choose_map("Spatial")


def test_an_access_key_is_asked_for_and_sent_with_everything(
    visit_to: Open, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    key = create_key(tmp_path / "keys.json", "clinic", announce=lambda _: None)
    with serving(bundle=tiny_bundle.folder, keys=tmp_path / "keys.json") as server:
        visit = visit_to(server.url, "401")
        page = visit.page
        field = page.get_by_label("Key", exact=True)
        expect(field).to_be_focused()
        expect(field).to_have_attribute("type", "password")
        visit.inspect("key")
        field.fill("cin_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("did not accept that key")).to_be_visible()
        field.fill(key)
        page.get_by_role("button", name="Use the key").click()
        expect(page.locator("#served")).to_contain_text("tiny")
        visit.example()
        visit.choose_map("Spatial")
        page.get_by_role("button", name="Delete Image 1").click()
        page.locator(".example").first.click()
        page.locator(".decision").wait_for()
        page.get_by_role("button", name="Delete Image 2").click()  # ends the time to undo the first
        expect(page.locator("#status")).to_contain_text("deleted here and in the service")
        assert key not in page.content()
        page.reload()
        for _ in range(2):  # the page asks at once, and again when there is no way without
            field.wait_for()
            page.locator("#key-cancel").click()
            if page.locator("#start").is_visible():
                page.locator(".example").first.click()
        expect(page.locator(".problem")).to_contain_text("asks for an access key")
        page.goto("about:blank")


def test_progress_is_told_and_can_be_given_up(visit: Visit) -> None:
    page = visit.page
    page.route(UPLOAD, lambda route: None)  # for ever
    page.locator(".example").first.click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)
    visit.inspect("progress")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#start")).to_be_visible()


def test_everything_the_service_may_say_has_words(visit: Visit) -> None:
    known = """async () => {
      const { text } = await import("/web/strings.js");
      return [text.problem.kinds, text.decision.reasons].map(Object.keys);
    }"""
    kinds, reasons = visit.page.evaluate(known)
    assert {problem.name for problem in PROBLEM_TYPES} - NEVER_SEEN <= set(kinds)
    assert set(REASONS) <= set(reasons)


def test_without_scripts_the_page_says_so(server: Server, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.url)
    assert "needs JavaScript" in page.locator(".no-script").inner_text()
    context.close()
