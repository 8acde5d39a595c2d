"""One picture: how it comes in, what is shown of it, and what its reader may do."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from service.api.routes.page import WEB
from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.page.browsing import Server
from tests.page.conftest import Open, Visit
from tests.service.tiny_bundle import picture_bytes

EXAMPLE = WEB / "examples" / "ISIC_0001140.jpg"

_TRANSFER = """([data, type, event]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "lesion.jpg", { type }));
  const options = { bubbles: true, cancelable: true };
  window.dispatchEvent(event === "drop"
    ? new DragEvent("drop", { ...options, dataTransfer: transfer })
    : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
}"""


def hand_over(page: Page, event: str, data: bytes, media_type: str = "image/jpeg") -> None:
    page.evaluate(_TRANSFER, [base64.b64encode(data).decode(), media_type, event])


def stage_pixels(page: Page, path: Path) -> np.ndarray:
    page.locator("#stage").screenshot(path=path, animations="disabled")
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def drop(page: Page) -> None:
    hand_over(page, "drop", EXAMPLE.read_bytes())


def paste(page: Page) -> None:
    hand_over(page, "paste", EXAMPLE.read_bytes())


def choose(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files(EXAMPLE)


@pytest.mark.parametrize("way", [drop, paste, choose])
def test_a_picture_comes_in(visit: Visit, way: Callable[[Page], None]) -> None:
    way(visit.page)
    expect(visit.page.locator(".decision")).to_contain_text("Refer")
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)


def test_the_camera_is_offered_where_one_points_with_fingers(visit_to: Open, server: Server) -> None:
    visit = visit_to(server.url, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_role("button", name="Take a picture").tap()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files(EXAMPLE)
    expect(visit.page.locator(".decision")).to_contain_text("Refer")


def test_two_actions_lead_to_a_map(visit: Visit, tmp_path: Path) -> None:
    visit.inspect("start")
    visit.example()  # one
    without = stage_pixels(visit.page, tmp_path / "without.png")
    visit.choose_map("Spatial")  # two
    assert np.abs(stage_pixels(visit.page, tmp_path / "with.png") - without).max() > 30
    visit.inspect("spatial")


def test_the_answer_is_the_services(visit: Visit) -> None:
    with visit.page.expect_response("**/predict") as predicted:
        visit.example()
    prediction = predicted.value.json()
    page = visit.page
    shown = {
        row.locator(".class").inner_text(): float(row.locator("td.mean").inner_text().rstrip("%"))
        for row in page.locator(".bars tbody tr").all()
    }
    labels = {"melanoma": "Melanoma", "nevus": "Nevus", "seborrheic_keratosis": "Seborrheic keratosis"}
    expected = {labels[name]: round(share * 100, 1) for name, share in prediction["probabilities"].items()}
    assert shown == pytest.approx(expected, abs=0.051)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    total = page.locator(".bars tfoot td")
    assert total.nth(0).inner_text() == f"{prediction['decision']['malignant_probability']:.1%}"
    for branch, column in zip(prediction["branches"], (1, 2), strict=True):
        assert total.nth(column).inner_text() == f"{branch['probabilities']['melanoma']:.1%}"
    bar, tick = (page.locator(f"tfoot .{name}").bounding_box() for name in ("bar", "threshold"))
    assert bar is not None
    assert tick is not None
    assert (tick["x"] - bar["x"]) / bar["width"] == pytest.approx(prediction["decision"]["threshold"], abs=0.01)
    expect(page.locator(".model")).to_contain_text(prediction["model"]["sha256"])
    expect(page.locator(".model")).to_contain_text(prediction["notice"])
    # A half is rounded up in the one language and to even in the other.
    total_ms = float(page.locator(".times dd").last.inner_text())
    assert total_ms == pytest.approx(prediction["timings_ms"]["total"], abs=0.051)
    expect(page.get_by_role("status")).to_contain_text("Refer")


def test_maps_branches_opacity_and_marks(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.example()
    outline = page.locator("#stage .outline")
    expect(outline).to_have_count(1)
    expect(page.locator("#stage .crop")).to_have_count(1)
    page.get_by_label("Lesion outline").uncheck()
    expect(outline).to_have_count(0)
    visit.choose_map("Lesion")
    expect(page.locator("#view-text")).to_contain_text(re.compile(r"Lesion area attention: centred .* of the picture"))
    expect(page.get_by_role("radio", name="Mean")).to_be_disabled()
    visit.choose_map("Correlation")
    page.locator("#branches label", has_text="2").click()
    expect(page.locator("#view-text")).to_contain_text("Correlation attention, branch 2: centred")
    strong = stage_pixels(page, tmp_path / "strong.png")
    page.locator("#opacity").fill("0")
    assert np.abs(stage_pixels(page, tmp_path / "none.png") - strong).max() > 60
    page.get_by_label("As the network gets it").check()
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
    visit.example()
    visit.choose_map("Correlation")
    expect(page.locator("#view-text")).to_contain_text("Click a spot inside the dashed crop")
    box = page.locator("#stage").bounding_box()
    assert box is not None
    with page.expect_response(lambda response: "map=correlation" in response.url and "x=" in response.url) as answered:
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    # The middle of the picture is in the middle spot of a crop that is the whole of it.
    assert "x=512&y=512" in answered.value.url
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
    page.get_by_role("button", name="Fit the picture").click()
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


def test_a_small_picture_is_seen_at_its_own_size(visit: Visit) -> None:
    hand_over(visit.page, "drop", picture_bytes(Image.open(EXAMPLE).resize((64, 64))))
    visit.page.locator(".decision").wait_for()
    visit.page.get_by_role("button", name="Native pixels").click()
    expect(visit.page.locator("#viewer .scale")).to_have_text("100%")


def test_everything_works_without_a_mouse(visit: Visit) -> None:
    page = visit.page

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
    tab_to("#prevalence")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#prevalence")).to_have_value("6")
    tab_to(".model .link")
    page.keyboard.press("Enter")
    expect(page.locator("#card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    tab_to(".forget")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_visible()


@pytest.mark.data
def test_another_operating_point_is_judged_by_the_service(visit: Visit, data_root: Path) -> None:
    page = visit.page
    # One whose probability of melanoma is between two of the shipped model's thresholds.
    page.set_input_files("#file", data_root / "isic2017" / "ISIC-2017_Validation_Data" / "ISIC_0012254.jpg")
    page.locator(".decision").wait_for()
    expect(page.locator(".decision")).to_contain_text("Below the referral threshold")
    expect(page.locator(".decision")).to_contain_text("the two branches of the network name different diagnoses")
    visit.choose_map("Spatial")
    with page.expect_response("**/predict?operating_point=high-sensitivity") as predicted:
        page.locator("#point").focus()
        page.locator("#point").select_option("high-sensitivity")
    assert predicted.value.json()["decision"]["refer"] is True
    expect(page.locator(".decision h3")).to_have_text("Refer")
    expect(page.locator(".decision")).to_contain_text("close to the threshold")
    point = load_bundle(SHIPPED_BUNDLE).manifest.operating_point("high-sensitivity")
    expect(page.locator(".point")).to_contain_text(f"{point.sensitivity.value:.1%}")
    expect(page.locator("#recent li")).to_have_count(1)
    expect(page.locator("#point")).to_be_focused()
    expect(page.locator("#view-text")).to_contain_text("Spatial attention")


def test_predictive_values_follow_the_prevalence(visit: Visit) -> None:
    page = visit.page
    visit.example()
    point = load_bundle(SHIPPED_BUNDLE).manifest.operating_point()
    for prevalence in (0.02, 0.3, 0.0025):
        page.locator("#prevalence").fill(f"{prevalence * 100:g}")
        # Counted in a population.
        people = 1_000_000
        ill = people * prevalence
        found, alarmed = ill * point.sensitivity.value, (people - ill) * (1 - point.specificity.value)
        positive, negative = found / (found + alarmed), (people - ill - alarmed) / (people - found - alarmed)
        shown = page.locator(".prevalence dd strong")
        expect(shown.first).to_have_text(f"{positive:.1%}")
        # Of a rare disease nearly all below the threshold are healthy: rounding must not say all.
        assert shown.last.inner_text() == f"{negative:.1%}".replace("100.0%", ">99.9%")
    for invalid in ("0", ""):
        page.locator("#prevalence").fill(invalid)
        expect(page.locator(".prevalence dd")).to_have_count(0)
        expect(page.locator("#no-values")).to_contain_text("0.1 to 99")
    page.locator("#prevalence").fill("7")
    page.get_by_role("button", name="Picture 1, an example, Refer").click()
    expect(page.locator("#prevalence")).to_have_value("7")


def test_no_rounding_claims_certainty(visit: Visit) -> None:
    shown = """async () => {
      const { percent, text } = await import("/web/strings.js");
      return [...[0, 0.0001, 0.123, 0.9999, 1].map((share) => percent(share)),
        text.decision.because("Melanoma", 0.12341, 0.12344, false)];
    }"""
    *shares, because = visit.page.evaluate(shown)
    assert shares == ["0.0%", "<0.1%", "12.3%", ">99.9%", "100.0%"]
    assert because == "Melanoma: 12.341%, below the threshold of 12.344%."


def test_the_model_card_is_the_bundles(visit: Visit) -> None:
    visit.example()
    visit.page.get_by_role("button", name="Read the model card").click()
    card = visit.page.locator("#card-text")
    headings = re.findall(r"^## (.*)$", (SHIPPED_BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert card.locator("h4").all_inner_texts() == headings
    assert "**" not in card.inner_text()
    assert "|" not in card.inner_text()
    visit.inspect("card")


def test_the_reader_answers_first_if_they_like(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("switch", name="Ask for my impression first").check()
    with page.expect_response("**/predict"):
        page.locator(".example").first.click()
    page.locator(".ask").wait_for()
    for hidden in (".decision", ".bars", "#overlays", "#recent"):
        expect(page.locator(hidden)).to_be_hidden()
    visit.inspect("impression")
    page.locator(".ask label", has_text="Unsure").click()
    page.get_by_role("button", name="Show the answer").click()
    expect(page.locator(".decision")).to_contain_text("Your impression before the answer: unsure.")


def test_a_picture_that_no_browser_shows_is_shown_as_the_network_gets_it(visit: Visit) -> None:
    tiff = picture_bytes(Image.open(EXAMPLE), "TIFF")
    hand_over(visit.page, "drop", tiff, "image/tiff")
    expect(visit.page.locator(".done")).to_contain_text("Read as TIFF, 1024 × 1024")
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 768)
    expect(visit.page.locator("#recent img")).to_have_js_property("naturalWidth", 768)
    visit.page.locator("#point").select_option("high-sensitivity")
    expect(visit.page.locator(".decision h3")).to_have_text("Refer")
    expect(visit.page.locator("#recent img")).to_have_js_property("naturalWidth", 768)
    expect(visit.page.locator("#report img")).to_have_js_property("naturalWidth", 768)


def test_a_turned_picture_is_shown_and_marked_upright(visit: Visit, tmp_path: Path) -> None:
    picture = Image.open(WEB / "examples" / "ISIC_0013793.jpg").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    data = picture_bytes(turned, "JPEG", quality=95, exif=exif.tobytes())
    hand_over(visit.page, "drop", data)
    expect(visit.page.locator(".done")).to_contain_text("1024 × 683 pixels, turned upright")
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)
    visit.page.get_by_label("As the network gets it").check()
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 768)
    frame = stage_pixels(visit.page, tmp_path / "frame.png")
    visit.page.get_by_label("As the network gets it").uncheck()
    expect(visit.page.locator("#stage .picture")).to_have_js_property("naturalWidth", 1024)
    assert np.abs(stage_pixels(visit.page, tmp_path / "picture.png") - frame).mean() < 12


def test_the_print_is_one_page_with_everything(visit: Visit, pictures_folder: Path) -> None:
    page = visit.page
    visit.example()
    visit.choose_map("Spatial")
    page.get_by_label("Reference for the print").fill("Lesion 12")
    page.emulate_media(media="print", color_scheme="dark")
    for shown in ("Lesion 12", "Refer", "Malignant in all", "Sensitivity", "PPV", "Digest", "not a medical device"):
        expect(page.get_by_text(shown).filter(visible=True).first).to_be_visible()
    verdict, picture = (page.locator(name).bounding_box() for name in (".decision", "#report img"))
    assert verdict is not None
    assert picture is not None
    assert verdict["y"] + verdict["height"] <= picture["y"]
    page.emulate_media(media="null")
    pdf = page.pdf(path=pictures_folder / "print.pdf", prefer_css_page_size=True, print_background=False)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
    assert len(re.findall(rb"/Subtype\s*/Image\b", pdf)) >= 3, "the picture twice, and the map"
