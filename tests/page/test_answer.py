"""What is said of a picture: the answer, its figures, the model's card, the print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.page.conftest import Visit


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
    total_ms = float(page.locator(".times dd").last.inner_text().replace(",", ""))
    assert total_ms == pytest.approx(prediction["timings_ms"]["total"], abs=0.051)
    expect(page.get_by_role("status")).to_contain_text("Refer")


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
      const { percent } = await import("/web/format.js");
      const { text } = await import("/web/strings.js");
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
