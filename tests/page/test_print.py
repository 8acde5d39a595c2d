"""What leaves the page: the print of an answer and of a comparison, the text for the record, the JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Visit
from tests.page.test_answer import answered, rough


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def images_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Subtype\s*/Image\b", pdf))


def paper(page: Page, path: Path) -> bytes:
    """As a PDF."""
    page.emulate_media(media="null")
    return page.pdf(path=path, prefer_css_page_size=True, print_background=False)


@pytest.mark.parametrize("which", [0, 1], ids=["refer", "below"])
def test_the_print_is_one_page_with_everything(visit: Visit, pictures_folder: Path, which: int) -> None:
    page = visit.page
    prediction = answered(visit, which)
    visit.choose_map("Spatial")
    visit.unfold("details")
    page.get_by_label("Reference").fill("Lesion 12")
    page.get_by_label("Body site").fill("left forearm")
    page.emulate_media(media="print", color_scheme="dark")
    risk = rough(prediction["decision"]["malignant_probability"])
    for shown in (
        "Lesion 12",
        "left forearm",
        "Read by",
        risk,
        "Decision threshold",
        "Cannot recognise",
        "It missed",
        prediction["model"]["sha256"][:16],
        "not a medical device",
    ):
        expect(page.get_by_text(shown).filter(visible=True).first).to_be_visible()
    for hidden in (".details", ".clinic", "#session", ".tools", ".record"):
        expect(page.locator(hidden)).to_be_hidden()
    verdict, picture = (page.locator(name).bounding_box() for name in (".decision", "#report img"))
    assert verdict is not None
    assert picture is not None
    assert verdict["y"] + verdict["height"] <= picture["y"]
    pdf = paper(page, pictures_folder / f"print-{which}.pdf")
    assert pages_of(pdf) == 1
    assert images_of(pdf) >= 3, "the image twice, and the map"


def test_a_comparison_is_printed(visit: Visit, pictures_folder: Path) -> None:
    page = visit.page
    visit.example()
    page.get_by_role("button", name="New image").click()
    visit.example(1)
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("Map on both").select_option("spatial")
    expect(page.locator(".pane .overlay:visible")).to_have_count(2)
    page.emulate_media(media="print")
    for shown in (".pane .verdict", ".differences", ".pane .stage"):
        expect(page.locator(shown).first).to_be_visible()
    pdf = paper(page, pictures_folder / "compare.pdf")
    assert pages_of(pdf) == 1
    assert images_of(pdf) >= 4


def test_the_record_says_what_the_page_says(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    decision = answered(visit, 1)["decision"]
    page.get_by_label("Reference").fill("Lesion 12")
    page.get_by_role("button", name="Copy for the record").click()
    expect(page.locator("#status")).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    for said in (
        "Reference: Lesion 12",
        "No referral advised for melanoma",
        rough(decision["malignant_probability"]),
        "Not ruled out: if in doubt, refer.",
        "Cannot recognise",
        "basal cell carcinoma",
        "Operating point: Balanced",
        "not a medical device",
    ):
        assert said in copied
    assert "aevus" not in copied.split("Cannot recognise")[0]


def test_the_json_is_the_services(visit: Visit) -> None:
    page = visit.page
    prediction = answered(visit)
    with page.expect_download() as saved:
        page.get_by_role("button", name="JSON").click()
    assert json.loads(Path(saved.value.path()).read_text(encoding="utf-8")) == prediction
