"""How large a lesion is, where the image's scale is known: by its file, or by two marks of a ruler in it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.browsing import Server
from tests.page.conftest import Open, Visit
from tests.page.pictures import EXAMPLE, hand_over
from tests.page.test_print import pages_of, paper
from tests.page.test_viewer import middle_of
from tests.service.imaging.dicoms import of_jpeg

FIELD = 20.48  # mm: the width of the example's 1024 pixels in the DICOM file


def click_at(page: Page, x: float, y: float) -> None:
    """A click on a point of the image, in fractions of it."""
    shown = page.locator("#stage .picture").bounding_box()
    assert shown is not None
    page.mouse.click(shown["x"] + x * shown["width"], shown["y"] + y * shown["height"])


def calibrate(page: Page, millimetres: str) -> None:
    """Say how far two marks, half the image's width apart, are from each other."""
    page.get_by_text("Scale and size").click()
    page.get_by_role("button", name="Calibrate on the ruler").click()
    page.locator("#stage").scroll_into_view_if_needed()
    click_at(page, 0.25, 0.5)
    click_at(page, 0.75, 0.5)
    page.get_by_label("Distance between both marks").fill(millimetres)
    page.get_by_role("button", name="Use", exact=True).click()


def size_of(page: Page) -> tuple[float, float]:
    """Along and across, in millimetres."""
    said = page.locator("#size").inner_text()
    found = re.search(r"([\d.]+) × ([\d.]+) mm", said)
    assert found is not None, said
    return float(found[1]), float(found[2])


def bar_of(page: Page) -> tuple[float, float]:
    """What the scale bar stands for in millimetres, and its length in CSS pixels."""
    bar = page.locator("#stage .ruler.screen")
    box = bar.bounding_box()
    assert box is not None
    return float(bar.inner_text().removesuffix(" mm")), box["width"]


def test_without_a_scale_nothing_is_measured(visit: Visit) -> None:
    page = visit.page
    visit.example()
    expect(page.locator("#viewer .ruler").first).to_be_hidden()
    expect(page.locator("#size")).to_be_empty()
    expect(page.locator("#calibration")).to_contain_text("scale is not known")


def test_two_marks_on_the_ruler_give_the_size(visit: Visit) -> None:
    page = visit.page
    with page.expect_response(re.compile("maps/lesion/summary")) as answered:
        visit.example()
    points = [(corner["x"], corner["y"]) for ring in answered.value.json()["outline"] for corner in ring]
    calibrate(page, str(FIELD / 2))
    visit.inspect("calibrated")
    longest = max(math.dist(one, other) for one in points for other in points)
    along, across = size_of(page)
    assert along == pytest.approx(longest / 1024 * FIELD, rel=0.06)
    assert 0 < across <= along
    expect(page.locator("#size")).to_contain_text("scale calibrated by the reader")
    for _ in range(3):
        shown = page.locator("#stage .picture").bounding_box()
        assert shown is not None
        stands_for, length = bar_of(page)
        assert length == pytest.approx(stands_for / FIELD * shown["width"], rel=0.02)
        assert 40 < length <= 111
        page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Remove the calibration").click()
    expect(page.locator("#size")).to_be_empty()
    expect(page.locator("#viewer .ruler").first).to_be_hidden()


def test_an_impossible_length_is_refused(visit: Visit) -> None:
    page = visit.page
    visit.example()
    for typed in ("500", "0.1", "0", ""):
        calibrate(page, typed)
        expect(page.locator("#calibration [role=alert]")).to_contain_text("Check the length")
        expect(page.locator("#size")).to_be_empty()
        page.locator("#calibration").get_by_role("button", name="Cancel").click()
        page.get_by_text("Scale and size").click()


def test_the_marks_are_taken_without_a_mouse(visit: Visit) -> None:
    page = visit.page
    visit.example()
    page.get_by_text("Scale and size").press("Enter")
    page.get_by_role("button", name="Calibrate on the ruler").press("Enter")
    expect(page.locator("#stage")).to_be_focused()
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Distance between both marks")).to_be_focused()
    visit.inspect("calibrating")
    page.keyboard.type("4")  # two steps of a tenth of what is seen, at a zoom of 1.25: 0.16 of the width
    page.keyboard.press("Enter")
    expect(page.locator("#size")).to_contain_text("mm")
    expect(page.locator("#calibrate")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator("#calibration")).to_contain_text("Calibrated by its reader")


def test_the_file_says_its_scale(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    spacing = [str(FIELD / 1024)] * 2
    hand_over(page, "drop", of_jpeg(EXAMPLE.read_bytes(), PixelSpacing=spacing), media_type="application/dicom")
    page.locator(".decision").wait_for()
    expect(page.locator("#size")).to_contain_text("scale from the file")
    expect(page.locator("#calibration")).to_contain_text("the one that the file states")
    size = page.locator("#size").inner_text()
    page.get_by_role("button", name="Copy for the record").click()
    expect(page.locator(".copied")).to_have_text("Copied.")
    assert size in page.evaluate("navigator.clipboard.readText()")
    page.emulate_media(media="print")
    expect(page.locator("#size")).to_be_visible()
    paper_bar, stage = (page.locator(f"#stage{name}").bounding_box() for name in (" .ruler.paper", ""))
    assert paper_bar is not None
    assert stage is not None
    assert paper_bar["width"] / stage["width"] == pytest.approx(5 / FIELD, rel=0.05)
    assert pages_of(paper(page, tmp_path / "scaled.pdf")) == 1


def test_a_calibration_belongs_to_its_image(visit: Visit) -> None:
    page = visit.page
    visit.example()
    calibrate(page, "10")
    size = size_of(page)
    page.get_by_role("button", name="New image").click()
    visit.example(1)
    expect(page.locator("#size")).to_be_empty()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".pane .ruler.screen:visible")).to_have_count(1)
    expect(page.locator(".pane figcaption").first).to_contain_text("calibrated by the reader")
    expect(page.locator("#comparison-figures")).to_contain_text("says nothing about growth")
    page.get_by_role("button", name="Back to one image").click()
    page.locator("#session .item .open").first.click()
    expect(page.locator("#size")).to_contain_text("mm")
    assert size_of(page) == size
    assert "mm" not in page.evaluate("JSON.stringify(localStorage)")


@pytest.mark.parametrize(("ratio", "expected"), [(1, 2), (1.5, 4 / 3), (2, 1.5), (3, 5 / 3)])
def test_lines_are_whole_device_pixels(visit_to: Open, server: Server, ratio: float, expected: float) -> None:
    visit = visit_to(server.url, device_scale_factor=ratio)
    visit.example()
    outline = visit.page.locator("#stage .marks .outline")
    width = float(outline.evaluate("(path) => parseFloat(getComputedStyle(path).strokeWidth) * path.getScreenCTM().a"))
    assert width == pytest.approx(expected, abs=0.01)


def test_the_wheel_is_the_viewers_while_marks_are_chosen(visit: Visit) -> None:
    page = visit.page
    visit.example()
    page.get_by_text("Scale and size").click()
    page.get_by_role("button", name="Calibrate on the ruler").click()
    before = page.locator("#viewer .scale").inner_text()
    page.mouse.move(*middle_of(page, "#stage"))
    page.mouse.wheel(0, -200)
    expect(page.locator("#viewer .scale")).not_to_have_text(before)
