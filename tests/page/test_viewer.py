"""The image in its viewer: maps, spots, zoom, and all of it without a mouse."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.page.conftest import UPLOAD, Visit
from tests.page.maps import relate
from tests.page.pictures import EXAMPLE, eventually, hand_over, stage_pixels
from tests.service.tiny_bundle import picture_bytes


def test_two_actions_lead_to_a_map(visit: Visit, tmp_path: Path) -> None:
    visit.inspect("start")
    visit.example()  # one
    without = stage_pixels(visit.page, tmp_path / "without.png")
    visit.choose_map("Spatial")  # two
    assert np.abs(stage_pixels(visit.page, tmp_path / "with.png") - without).max() > 30
    visit.inspect("spatial")


def test_maps_branches_opacity_and_marks(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.example()
    outline = page.locator("#stage .outline")
    expect(outline).to_have_count(1)
    expect(page.locator("#stage .crop")).to_have_count(1)
    for without_a_map in ("#opacity", "#split", "#branches"):
        expect(page.locator(without_a_map)).to_be_hidden()
    page.get_by_label("Lesion outline").uncheck()
    expect(outline).to_have_count(0)
    visit.choose_map("Lesion")
    expect(page.locator("#view-text")).to_contain_text(re.compile(r"Lesion area attention: centred .* of the image"))
    expect(page.get_by_label("Opacity of the map")).to_be_visible()
    expect(page.get_by_role("radio", name="Mean")).to_be_hidden()
    visit.choose_map("Correlation")
    page.locator("#branches label", has_text="2").click()
    expect(page.locator("#view-text")).to_contain_text("Correlation attention, branch 2: highest")
    strong = stage_pixels(page, tmp_path / "strong.png")
    page.locator("#opacity").fill("0")
    assert np.abs(stage_pixels(page, tmp_path / "none.png") - strong).max() > 30
    page.get_by_label("Show the model's input").check()
    expect(page.locator("#stage .picture")).to_have_js_property("naturalWidth", 768)


def test_half_with_the_map_and_half_without(visit: Visit, tmp_path: Path) -> None:
    visit.example()
    bare = stage_pixels(visit.page, tmp_path / "bare.png")
    visit.choose_map("Lesion")
    visit.page.locator("#split").fill("50")
    split = stage_pixels(visit.page, tmp_path / "split.png")
    change = np.abs(split - bare).max(axis=2)
    middle = change.shape[1] // 2
    assert change[:, : middle - 4].max() < 30
    assert (change[:, middle + 4 : -60] > 30).mean() > 0.05
    visit.inspect("split")


def test_a_click_shows_what_is_related_to_the_spot(visit: Visit) -> None:
    page = visit.page
    relate(visit)
    with page.expect_response(UPLOAD) as predicted:
        visit.example()
    box = predicted.value.json()["lesion"]["crop_box"]
    visit.choose_map("Correlation")
    expect(page.locator("#view-text")).to_contain_text("Choose a spot inside the dashed crop")
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    with page.expect_response(
        lambda response: "/maps/correlation" in response.url and "x=" in response.url
    ) as answered:
        page.mouse.click(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    # The middle of the image is in the middle spot of a crop of nearly all of it.
    assert f"x={(box['x0'] + box['x1']) / 2:g}&y={(box['y0'] + box['y1']) / 2:g}" in answered.value.url
    expect(page.locator("#stage .spot")).to_have_count(1)
    expect(page.locator("#view-text")).to_contain_text("related to the spot")
    visit.inspect("related")


def test_zoom_and_pan_with_wheel_buttons_drag_and_pinch(visit: Visit) -> None:
    page = visit.page
    visit.example()
    scale = page.locator("#viewer .scale")
    fitted = scale.inner_text()
    page.get_by_role("button", name="Native pixels").click()
    expect(scale).to_have_text("100%")
    stage = page.locator("#stage")
    box = stage.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def left() -> float:
        return float(stage.evaluate("(stage) => parseFloat(stage.style.getPropertyValue('--x'))"))

    before = left()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 50, y, steps=3)
    page.mouse.up()
    assert left() == pytest.approx(before - 50, abs=2)
    page.mouse.wheel(0, -400)
    expect(scale).to_have_text(re.compile(r"27\d%"))
    page.get_by_role("button", name="Fit the image").click()
    expect(scale).to_have_text(fitted)
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *xs: float) -> None:
        points = [{"x": at, "y": y, "id": index} for index, at in enumerate(xs)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", x - 40, x + 40)
    touch("touchMove", x - 80, x + 80)
    touch("touchMove", x - 120, x + 120)
    touch("touchEnd")
    zoomed = float(scale.inner_text().rstrip("%")) / float(fitted.rstrip("%"))
    assert zoomed == pytest.approx(3, rel=0.1)


def middle_of(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_turned_view_knows_the_spots_of_the_upright_picture(visit: Visit) -> None:
    page = visit.page
    relate(visit)
    visit.example(1)  # 1024 x 683
    visit.choose_map("Correlation")
    x, y = middle_of(page, "#stage")
    for turns in range(4):
        if turns:
            page.get_by_role("button", name="Turn").click()
        # A quarter of the image's width to the right of its middle, as it was upright.
        shown = page.locator("#stage .picture").bounding_box()
        assert shown is not None
        assert (shown["width"] > shown["height"]) is (turns % 2 == 0)
        right, down = (shown["width"] / 8, 0) if turns % 2 == 0 else (0, shown["height"] / 8)
        page.mouse.click(x + right, y + down)
        expected = 512 + {0: 128, 1: 128, 2: -128, 3: -128}[turns]
        # The cell that was hit: the crop in seven by seven.
        cell = f"""[...document.querySelectorAll("#stage .marks .spot")].some((mark) => {{
          const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(mark.getAttribute(name)));
          return x <= {expected} && {expected} <= x + width && y <= 341 && 341 <= y + height;
        }})"""
        eventually(partial(page.evaluate, cell))
    visit.inspect("turned")


def test_a_double_click_goes_closer_and_back(visit: Visit) -> None:
    page = visit.page
    visit.example()
    scale = page.locator("#viewer .scale")
    fitted = scale.inner_text()
    page.mouse.dblclick(*middle_of(page, "#stage"))
    expect(scale).not_to_have_text(fitted)
    page.mouse.dblclick(*middle_of(page, "#stage"))
    expect(scale).to_have_text(fitted)


def test_the_wheel_scrolls_the_page_unless_the_viewer_is_in_use(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 800, "height": 500})
    visit.example()
    scale = page.locator("#viewer .scale")
    fitted = scale.inner_text()
    page.locator("#stage").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(400, 450)
    page.mouse.wheel(0, 300)
    expect(page.locator(".top")).not_to_be_in_viewport()
    expect(scale).to_have_text(fitted)
    page.locator("#stage").focus()
    page.mouse.move(*middle_of(page, "#stage"))
    page.mouse.wheel(0, -200)
    expect(scale).not_to_have_text(fitted)


def test_brightness_changes_what_is_shown_alone(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.example()
    before = stage_pixels(page, tmp_path / "before.png").mean()
    page.get_by_text("Brightness and contrast").click()
    page.get_by_label("Brightness").fill("150")
    assert stage_pixels(page, tmp_path / "after.png").mean() > before + 10
    page.get_by_role("button", name="New image").click()
    visit.example()
    assert stage_pixels(page, tmp_path / "again.png").mean() == pytest.approx(before, abs=3)


def test_the_viewer_fills_the_screen(visit: Visit) -> None:
    page = visit.page
    visit.example()
    page.get_by_role("button", name="Full screen").click()
    expect(page.locator("#viewer:fullscreen")).to_have_count(1)
    page.locator("#stage").press("f")
    expect(page.locator("#viewer:fullscreen")).to_have_count(0)


def test_a_small_picture_is_seen_at_its_own_size(visit: Visit) -> None:
    hand_over(visit.page, "drop", picture_bytes(Image.open(EXAMPLE).resize((64, 64))), media_type="image/png")
    visit.page.locator(".decision").wait_for()
    visit.page.get_by_role("button", name="Native pixels").click()
    expect(visit.page.locator("#viewer .scale")).to_have_text("100%")


def test_everything_works_without_a_mouse(visit: Visit) -> None:
    page = visit.page
    relate(visit)

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to(".example")
    page.keyboard.press("Enter")
    page.locator(".decision").wait_for()
    tab_to("#stage")
    page.keyboard.press("1")
    expect(page.locator("#viewer .scale")).to_have_text("100%")
    page.keyboard.press("0")
    tab_to("#maps input")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#view-text")).to_contain_text("Correlation attention")
    page.keyboard.press("Shift+Tab")
    while not page.evaluate("document.activeElement.id === 'stage'"):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("status")).to_contain_text("Spot in row 3 of 7, column 4 of 7")
    page.keyboard.press("Enter")
    expect(page.locator("#view-text")).to_contain_text("related to the spot")
    page.keyboard.press("o")
    expect(page.locator("#view-text")).to_contain_text("press O")
    page.keyboard.press("o")
    tab_to("#opacity")
    page.keyboard.press("End")
    expect(page.locator("#opacity")).to_have_value("100")
    tab_to("#clinic summary")
    page.keyboard.press("Enter")
    tab_to("#prevalence")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    expect(page.locator(".decision")).to_contain_text("where 6% of lesions are melanoma")
    tab_to("#details summary")
    page.keyboard.press("Enter")
    tab_to(".model .link")
    page.keyboard.press("Enter")
    expect(page.locator("#card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    tab_to(".forget")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_visible()
