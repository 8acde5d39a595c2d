"""Several images at once: each with its progress, its reason when it fails, and its place by risk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from service.api.routes.page import WEB
from service.bundle import Bundle
from tests.page.browsing import serving
from tests.page.conftest import UPLOAD, Open, Visit
from tests.page.pictures import EXAMPLE, hand_over
from tests.service.tiny_bundle import picture_bytes

BENIGN = WEB / "examples" / "ISIC_0013793.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve files, three of them bad, and what systems leave in folders."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    for at in range(9):
        shutil.copy(BENIGN if at % 3 else EXAMPLE, folder / f"lesion-{at}.jpg")
    (folder / "letter.txt").write_text("no image")
    (folder / "small.png").write_bytes(picture_bytes(Image.new("RGB", (20, 20))))
    (folder / "cut.jpg").write_bytes(EXAMPLE.read_bytes()[:5000])
    (folder / ".DS_Store").write_bytes(b"")
    return folder


def test_a_folder_is_listed_by_risk_and_nothing_is_dropped(visit: Visit, folder: Path) -> None:
    page = visit.page
    visit.watch.expected |= {"415", "422"}
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)
    expect(page.locator("#session .item")).to_have_count(12)
    expect(page.locator(".item.sending").or_(page.locator(".item.waiting"))).to_have_count(0, timeout=60_000)
    expect(page.locator("#summary")).to_have_text("3 refer, 3 failed, 6 no referral")
    kinds = page.locator("#session .item").evaluate_all("(items) => items.map((item) => item.classList[1])")
    assert kinds == ["refer"] * 3 + ["failed"] * 3 + ["no_referral"] * 6
    risks = [float(risk.rstrip("%")) for risk in page.locator(".item .verdict").all_inner_texts() if "%" in risk]
    assert risks == sorted(risks, reverse=True)
    failed = page.locator(".item.failed")
    for name, why in (("letter.txt", "this is text"), ("small.png", "20 x 20 pixels"), ("cut.jpg", "truncated")):
        expect(failed.filter(has_text=name)).to_contain_text(why)
    visit.inspect("list")
    page.set_viewport_size({"width": 390, "height": 844})
    visit.inspect("list-phone")
    failed.filter(has_text="small.png").get_by_role("button", name="Try").click()
    expect(page.locator(".item.failed")).to_have_count(3)
    page.locator(".item.refer .open").first.click()
    expect(page.locator(".decision h3")).to_have_text("Refer")
    expect(page.locator("#reading-title")).to_contain_text("lesion-")
    page.get_by_role("button", name="List").click()
    expect(page.locator("#reading")).to_be_hidden()


def test_several_are_pasted_or_dropped(visit: Visit) -> None:
    page = visit.page
    hand_over(page, "paste", EXAMPLE.read_bytes(), BENIGN.read_bytes())
    expect(page.locator("#summary")).to_have_text("1 refer, 1 no referral")
    hand_over(page, "drop", EXAMPLE.read_bytes(), BENIGN.read_bytes())
    expect(page.locator("#summary")).to_have_text("2 refer, 2 no referral")


def test_names_of_files_are_shown_and_never_sent(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    shutil.copy(EXAMPLE, tmp_path / "Jane-Doe.jpg")
    with page.expect_request(UPLOAD) as asked:
        page.set_input_files("#file", tmp_path / "Jane-Doe.jpg")
    page.locator(".decision").wait_for()
    expect(page.locator("#reading-title")).to_contain_text("Jane-Doe.jpg")
    assert b"Jane" not in (asked.value.post_data_buffer or b"")
    assert "Jane" not in str(asked.value.all_headers())


def test_a_busy_service_gets_each_of_them_later(visit_to: Open, tiny_bundle: Bundle) -> None:
    with serving(bundle=tiny_bundle.folder, queue_size=1) as server:
        visit = visit_to(server.url, "429")
        page = visit.page
        with server.service.admission.enter("another") as entry:
            entry.take_slots()
            hand_over(page, "drop", *[EXAMPLE.read_bytes()] * 3)
            expect(page.locator("#session")).to_contain_text(re.compile(r"sent again in \d s"))
        expect(page.locator("#summary")).not_to_contain_text("to go", timeout=60_000)
        expect(page.locator("#summary")).not_to_contain_text("failed")
        page.goto("about:blank")


def test_trying_again_sends_the_same_key(visit: Visit) -> None:
    page = visit.page
    visit.watch.expected.add("net::ERR_CONNECTION_RESET")
    keys: list[str] = []

    def reset_once(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(UPLOAD, reset_once)
    page.locator(".example").first.click()
    expect(page.locator(".problem")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Try again").click()
    page.locator(".decision").wait_for()
    assert len(keys) == 2
    assert keys[0] == keys[1]
    page.get_by_role("button", name="New image").click()
    page.locator(".example").first.click()
    page.locator(".decision").wait_for()
    assert keys[2] != keys[0]


def test_a_slow_upload_arrives_and_may_be_made_smaller(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    noise = Image.effect_noise((1800, 1400), 60).convert("RGB")
    noise.save(tmp_path / "large.jpg", quality=95)
    assert (tmp_path / "large.jpg").stat().st_size > 1_000_000
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 60_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#file", tmp_path / "large.jpg")
    page.get_by_role("button", name="Send a smaller copy").click(timeout=20_000)
    network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    page.locator(".decision").wait_for(timeout=30_000)
    visit.unfold("details")
    expect(page.locator(".done")).to_contain_text("1536 × 1195 pixels")


def test_an_upload_that_stands_still_is_given_up(visit: Visit) -> None:
    page = visit.page
    page.clock.install()
    page.route(UPLOAD, lambda route: None)  # for ever
    page.locator(".example").first.click()
    page.locator(".progress").wait_for()
    page.clock.fast_forward(31_000)
    expect(page.locator(".problem")).to_contain_text("came to a halt")


def test_a_smaller_copy_is_offered_when_sending_took_too_long(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.watch.expected.add("408")
    Image.effect_noise((1800, 1400), 60).convert("RGB").save(tmp_path / "large.jpg", quality=95)
    body = {"type": "urn:problem:request-timeout", "detail": "too slow"}
    page.route(UPLOAD, lambda route: route.fulfill(status=408, json=body))
    page.set_input_files("#file", tmp_path / "large.jpg")
    expect(page.locator(".problem")).to_contain_text("Sending took too long")
    page.unroute(UPLOAD)
    page.get_by_role("button", name="Send a smaller copy").click()
    page.locator(".decision").wait_for()
