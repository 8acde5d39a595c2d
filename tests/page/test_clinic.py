"""The clinic's share of malignant lesions and its operating point: the service's figures, and no second upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Request, expect

from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.page.browsing import Server
from tests.page.conftest import UPLOAD, Open, Visit
from tests.page.test_answer import answered, place, rough


def set_prevalence(page: Page, percent: str) -> dict[str, Any]:
    """Type it, and return what the service says then."""
    with page.expect_response("**/v1/predictions/*") as viewed:
        page.locator("#prevalence").fill(percent)
        page.locator("#prevalence").press("Enter")
    view: dict[str, Any] = viewed.value.json()
    return view


def uploads(page: Page) -> list[Request]:
    """Filled with the uploads from now on."""
    seen: list[Request] = []
    page.on("request", lambda request: seen.append(request) if request.method == "POST" else None)
    return seen


def test_the_risk_is_converted_by_the_service(visit: Visit, server: Server) -> None:
    page = visit.page
    before = answered(visit)
    marks = place(page, "risk-mark"), place(page, "threshold")
    sent = uploads(page)
    page.get_by_role("button", name="Set the share in your clinic").click()
    expect(page.locator("#prevalence")).to_be_focused()
    shown = set_prevalence(page, "2")
    assert sent == []
    address = f"{server.url}/v1/predictions/{before['id']}"
    said = httpx.get(address, params={"prevalence": 0.02}).json()
    assert shown["decision"] == said["decision"]
    # Bayes' rule by hand, on odds.
    own = load_bundle(SHIPPED_BUNDLE).manifest.malignant_prevalence
    assert own is not None
    p = before["decision"]["malignant_probability"]
    odds = p / (1 - p) * (0.02 / 0.98) / (own / (1 - own))
    assert shown["decision"]["malignant_probability"] == pytest.approx(odds / (1 + odds), abs=2e-6)
    expect(page.locator(".risk strong")).to_have_text(rough(odds / (1 + odds)))
    expect(page.locator(".gauge-label")).to_have_text(f"Decision threshold {rough(said['decision']['threshold'])}")
    expect(page.locator(".decision")).to_contain_text("where 2% of lesions are melanoma")
    expect(page.locator("#prevalence")).to_be_focused()
    # The image's evidence is what it was.
    assert (place(page, "risk-mark"), place(page, "threshold")) == pytest.approx(marks, abs=1e-4)
    expect(page.locator(".decision h3")).to_have_text("Refer")
    expect(page.locator("#session .item .verdict")).to_have_text(rough(odds / (1 + odds)))
    page.get_by_role("button", name="Use the model's mix").click()
    expect(page.locator(".risk strong")).to_have_text(rough(p))


def test_the_clinic_is_remembered(visit: Visit) -> None:
    page = visit.page
    visit.example()
    visit.unfold("clinic")
    set_prevalence(page, "5")
    page.get_by_role("button", name="New image").click()
    with page.expect_request(UPLOAD) as asked:
        visit.example(1)
    assert "prevalence=0.05" in asked.value.url
    expect(page.locator(".decision")).to_contain_text("where 5% of lesions are melanoma")
    page.reload()
    visit.example(1)
    expect(page.locator(".decision")).to_contain_text("where 5% of lesions are melanoma")


def test_predictive_values_follow_the_prevalence(visit: Visit) -> None:
    page = visit.page
    visit.example()
    visit.unfold("clinic")
    point = load_bundle(SHIPPED_BUNDLE).manifest.operating_point()
    for prevalence in (0.02, 0.3, 0.0025):
        set_prevalence(page, f"{prevalence * 100:g}")
        # Counted in a population.
        people = 1_000_000
        ill = people * prevalence
        found, alarmed = ill * point.sensitivity.value, (people - ill) * (1 - point.specificity.value)
        positive, negative = found / (found + alarmed), (people - ill - alarmed) / (people - found - alarmed)
        shown = page.locator(".values dd strong")
        expect(shown.first).to_have_text(f"{positive:.1%}")
        # Of a rare disease nearly all below the threshold are healthy: rounding must not say all.
        assert shown.last.inner_text() == f"{negative:.1%}".replace("100.0%", ">99.9%")
    page.locator("#prevalence").fill("0")
    page.locator("#prevalence").press("Enter")
    expect(page.locator("#prevalence-invalid")).to_contain_text("0.1 to 99")
    expect(page.locator(".decision")).to_contain_text("where 0.25% of lesions are melanoma")


@pytest.mark.data
def test_another_operating_point_needs_no_upload(visit: Visit, server: Server, data_root: Path) -> None:
    page = visit.page
    # One whose probability of melanoma is between two of the shipped model's thresholds.
    with page.expect_response(UPLOAD) as predicted:
        page.set_input_files("#file", data_root / "isic2017" / "ISIC-2017_Validation_Data" / "ISIC_0012316.jpg")
    page.locator(".decision").wait_for()
    expect(page.locator(".decision h3")).to_have_text("No referral advised for melanoma")
    expect(page.locator(".decision")).to_contain_text("more than one lesion")
    visit.choose_map("Spatial")
    visit.unfold("clinic")
    sent = uploads(page)
    with page.expect_response("**/v1/predictions/*operating_point=high-sensitivity*") as viewed:
        page.locator("#point").focus()
        page.locator("#point").select_option("high-sensitivity")
    address = f"{server.url}/v1/predictions/{predicted.value.json()['id']}?operating_point=high-sensitivity"
    decision = httpx.get(address).json()["decision"]
    assert viewed.value.json()["decision"] == decision
    assert decision["refer"] is True
    expect(page.locator(".decision h3")).to_have_text("Refer")
    expect(page.locator(".gauge-label")).to_contain_text(rough(decision["threshold"]))
    expect(page.locator(".decision")).to_contain_text("close to the threshold")
    point = load_bundle(SHIPPED_BUNDLE).manifest.operating_point("high-sensitivity")
    expect(page.locator(".limits")).to_contain_text(f"missed {round(100 * (1 - point.sensitivity.value))} of 100")
    assert sent == []
    expect(page.locator("#session .item")).to_have_count(1)
    expect(page.locator("#point")).to_be_focused()
    expect(page.locator("#view-text")).to_contain_text("Spatial attention")


def test_a_point_that_the_model_lacks_is_not_asked_for(visit: Visit) -> None:
    page = visit.page
    page.evaluate(
        """localStorage.setItem("clinical-inspired-network", '{"operatingPoint": "gone", "prevalence": 7}')"""
    )
    page.reload()
    with page.expect_request(UPLOAD) as asked:
        visit.example()
    assert "?" not in asked.value.url


def test_a_change_without_a_network_is_made_later(visit_to: Open, server: Server) -> None:
    visit = visit_to(server.url, "net::ERR_INTERNET_DISCONNECTED")
    page = visit.page
    visit.example()
    visit.unfold("clinic")
    page.context.set_offline(True)
    page.locator("#point").select_option("dermatologist")
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#clinic summary")).to_contain_text("As dermatologists")
