"""How an image comes in, and how kinds that browsers do not show are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from service.api.routes.page import WEB
from tests.page.browsing import Server
from tests.page.conftest import Open, Visit
from tests.page.pictures import EXAMPLE, hand_over, stage_pixels
from tests.service.hostile import exif_of
from tests.service.tiny_bundle import picture_bytes


def drop(page: Page) -> None:
    hand_over(page, "drop", EXAMPLE.read_bytes())


def paste(page: Page) -> None:
    hand_over(page, "paste", EXAMPLE.read_bytes())


def choose(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(EXAMPLE)


@pytest.mark.parametrize("way", [drop, paste, choose])
def test_a_picture_comes_in(visit: Visit, way: Callable[[Page], None]) -> None:
    way(visit.page)
    expect(visit.page.locator(".decision")).to_contain_text("Refer")
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)


def test_the_camera_is_offered_where_one_points_with_fingers(visit_to: Open, server: Server) -> None:
    visit = visit_to(server.url, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_role("button", name="Take a photo").tap()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files(EXAMPLE)
    expect(visit.page.locator(".decision")).to_contain_text("Refer")


def test_a_picture_that_no_browser_shows_is_shown_as_the_network_gets_it(visit: Visit) -> None:
    tiff = picture_bytes(Image.open(EXAMPLE), "TIFF")
    hand_over(visit.page, "drop", tiff, media_type="image/tiff")
    expect(visit.page.locator(".done")).to_contain_text("Read as TIFF, 1024 × 1024")
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 768)
    expect(visit.page.locator("#session img")).to_have_js_property("naturalWidth", 768)
    visit.unfold("clinic")
    visit.page.locator("#point").select_option("high-sensitivity")
    expect(visit.page.locator("#clinic summary")).to_contain_text("High sensitivity")
    expect(visit.page.locator(".decision h3")).to_have_text("Refer")
    expect(visit.page.locator("#session img")).to_have_js_property("naturalWidth", 768)
    expect(visit.page.locator("#report img")).to_have_js_property("naturalWidth", 768)


def test_a_turned_picture_is_shown_and_marked_upright(visit: Visit, tmp_path: Path) -> None:
    picture = Image.open(WEB / "examples" / "ISIC_0013793.jpg").convert("RGB")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    data = picture_bytes(turned, "JPEG", quality=95, exif=exif_of(6).tobytes())
    hand_over(visit.page, "drop", data)
    expect(visit.page.locator(".done")).to_contain_text("1024 × 683 pixels, turned upright")
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)
    visit.page.get_by_label("Show the model's input").check()
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 768)
    frame = stage_pixels(visit.page, tmp_path / "frame.png")
    visit.page.get_by_label("Show the model's input").uncheck()
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)
    assert np.abs(stage_pixels(visit.page, tmp_path / "picture.png") - frame).mean() < 12
