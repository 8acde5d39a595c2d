"""An image that gets no assessment: its reasons, and no figure of a diagnosis anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.page.browsing import serving
from tests.page.conftest import UPLOAD, Open, Visit
from tests.service.tiny_bundle import picture_bytes, write_tiny_bundle

# Figures that appear nowhere else, in each way that the page writes shares.
RAW = {"melanoma": 0.4321, "seborrheic_keratosis": 0.0913, "nevus": 0.4766}
LEAKS = re.compile(
    "|".join(re.escape(said) for share in RAW.values() for said in (f"{share:.4f}", f"{share:.3%}", f"{share:.1%}"))
    + "|0[.]43|43%|43[.]2|48%|9[.]1%"
)


# The viewer's zoom is a percentage of its own.
_WITHOUT_THE_ZOOM = """(place) => {
  const copy = place.cloneNode(true);
  copy.querySelectorAll(".zoom .scale").forEach((zoom) => zoom.remove());
  return copy.outerHTML;
}"""


def abstaining(route: Route) -> None:
    """The service's answer without an assessment, with all figures left in: the page does not rely on the service."""
    response = route.fetch()
    answer: dict[str, Any] = response.json()
    answer["decision"] |= {
        "status": "abstained",
        "refer": None,
        "malignant_probability": RAW["melanoma"],
        "reasons": ["not_dermoscopy", "blurred", "near_threshold", "branches_disagree"],
        "abstained_because": ["not_dermoscopy", "blurred"],
    }
    answer |= {"diagnosis": "nevus", "probabilities": RAW, "branches": [{"probabilities": RAW}] * 2}
    route.fulfill(response=response, json=answer)


def check(page: Page) -> None:
    """No figure of the diagnosis in any text, label or style of the page."""
    for shown in ("#reading", "#session", "#comparison", "#report", "#status"):
        html = page.locator(shown).evaluate(_WITHOUT_THE_ZOOM)
        assert not LEAKS.search(html), LEAKS.search(html)
    for shown in (".decision", ".record", "#session", "#report"):
        place = page.locator(shown)
        assert place.count() == 0 or "%" not in (place.text_content() or "")
    for shown in (".gauge", ".risk", ".limits", ".bars", ".performance", ".clinic", ".probabilities"):
        expect(page.locator(shown)).to_have_count(0)


def test_no_figure_is_shown_printed_or_copied(visit: Visit, pictures_folder: Path) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.route(UPLOAD, abstaining)
    visit.example()
    expect(page.locator(".decision h3")).to_have_text("No assessment: image not suitable")
    expect(page.locator(".reasons")).to_have_text("Why not The image is blurred; focus and take it again.")
    for said in ("Nothing was assessed; melanoma is not ruled out.", "blurred"):
        expect(page.locator(".decision")).to_contain_text(said)
        expect(page.locator("#status")).to_contain_text(said)
    for hidden in ("#overlays", "#stage .crop", "#stage .outline", "#view-text"):
        expect(page.locator(hidden)).not_to_be_visible()
    visit.unfold("details")
    expect(page.locator(".details")).to_contain_text("Also noted: This image is unlike the dermoscopic images")
    check(page)
    visit.inspect("abstained")
    page.locator("#copy").click()
    expect(page.locator(".record .copied")).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "No assessment: image not suitable" in copied
    assert "%" not in copied
    assert not LEAKS.search(copied)
    page.emulate_media(media="print")
    check(page)
    expect(page.locator(".decision")).to_be_visible()
    page.emulate_media(media="null")
    pdf = page.pdf(path=pictures_folder / "abstained.pdf", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


def test_no_figure_is_in_the_list_or_a_comparison(visit: Visit) -> None:
    page = visit.page
    page.route(UPLOAD, abstaining)
    visit.example()
    page.get_by_role("button", name="New image").click()
    page.unroute(UPLOAD)
    visit.example(1)
    page.get_by_role("button", name="List").click()
    item = page.locator(".item.abstained")
    expect(item).to_contain_text("No assessment")
    assert not re.search(r"\d%", item.inner_text())
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".differences tbody tr").first).to_contain_text("no assessment")
    expect(page.locator("#comparison-figures")).to_contain_text("no difference to show")
    assert not LEAKS.search(page.locator("#comparison").evaluate("(place) => place.outerHTML"))
    page.emulate_media(media="print")
    assert not LEAKS.search(page.locator("#comparison").inner_text())


def test_the_services_own_abstention(visit_to: Open, tmp_path: Path) -> None:
    wall = picture_bytes(Image.new("RGB", (256, 256), (200, 150, 140)))
    with serving(bundle=write_tiny_bundle(tmp_path / "examining", limits=True).folder) as server:
        visit = visit_to(server.url)
        page = visit.page
        with page.expect_response(UPLOAD) as predicted:
            page.set_input_files("#file", {"name": "wall.png", "mimeType": "image/png", "buffer": wall})
        assert predicted.value.json()["probabilities"] is None
        expect(page.locator(".decision h3")).to_have_text("No assessment: image not suitable")
        expect(page.locator(".reasons")).to_contain_text("blurred")
        visit.unfold("details")
        expect(page.locator(".details")).to_contain_text("No lesion was found")
        check(page)
        page.goto("about:blank")


def _first(reasons: list[str]) -> list[str]:
    """What each says first."""
    return [re.split(";| the model", reason)[0] for reason in reasons]


def test_what_follows_from_what_an_image_lacks_is_no_reason_of_its_own(visit: Visit) -> None:
    said = """async () => {
      const { reasonsOf } = await import("/web/wording.js");
      const nothing = { refer: null, status: "abstained", malignant_probability: null };
      return [
        ["not_dermoscopy", "blurred", "too_dark", "no_colour"],
        ["no_lesion_found", "not_dermoscopy", "no_colour", "blurred"],
        ["no_lesion_found", "not_dermoscopy"],
        ["no_lesion_found"],
      ].map((reasons) => ({ ...nothing, reasons, abstained_because: reasons }))
        .map((decision) => reasonsOf({ prediction: { decision } }));
    }"""
    dark, grey, other, none = visit.page.evaluate(said)
    assert _first(dark) == ["The image is too dark"]
    assert _first(grey) == ["The image has no colour", "The image is blurred"]
    assert _first(other) == ["This image is unlike the dermoscopic images"]
    assert _first(none) == ["No lesion was found"]


@pytest.mark.data
def test_a_photograph_of_something_else(visit: Visit, data_root: Path) -> None:
    visit.page.set_input_files("#file", data_root / "not_dermoscopy" / "kodim03.jpg")
    expect(visit.page.locator(".decision h3")).to_have_text("No assessment: image not suitable")
    check(visit.page)
