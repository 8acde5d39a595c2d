"""A model with other classes than the shipped one's: what the page says of them, and of what was not measured."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Route, expect

from tests.page.conftest import UPLOAD, Visit

FIVE = {
    "melanoma": ("Melanoma", "malignant"),
    "basal_cell_carcinoma": ("Basal cell carcinoma", "malignant"),
    "seborrheic_keratosis": ("Seborrheic keratosis", "benign"),
    "dermatofibroma": ("Dermatofibroma", "benign"),
    "other": ("Other lesion", "unknown"),
}
SHARES = dict(zip(FIVE, (0.1, 0.2, 0.3, 0.15, 0.25), strict=True))


def of_five_classes(route: Route) -> None:
    """The shipped model as if it had five classes, and a threshold without a test set."""
    response = route.fetch()
    model: dict[str, Any] = response.json()
    manifest = model["manifest"]
    manifest["classes"] = [
        {"name": name, "label": label, "malignant": role == "malignant", "role": role, "snomed_ct": None}
        for name, (label, role) in FIVE.items()
    ]
    manifest["prevalence"] = SHARES
    for point in manifest["operating_points"]:
        point["chosen_on"] = None
    route.fulfill(response=response, json=model)


def answered(route: Route) -> None:
    response = route.fetch()
    answer: dict[str, Any] = response.json()
    answer |= {"diagnosis": "seborrheic_keratosis", "probabilities": SHARES}
    answer["branches"] = [{"probabilities": SHARES}] * 2
    answer["decision"] |= {"malignant_probability": 0.3, "prevalence": 0.3, "refer": True}
    route.fulfill(response=response, json=answer)


def test_five_classes_with_their_roles(visit: Visit) -> None:
    page = visit.page
    page.route("**/v1/model", of_five_classes)
    page.route(UPLOAD, answered)
    page.reload()
    visit.example()
    expect(page.locator(".risk")).to_contain_text("Basal cell carcinoma")
    expect(page.locator(".risk strong")).to_have_text("30%")
    limits = page.locator(".limits")
    for known in ("dermatofibroma", "other lesion"):
        expect(limits).to_contain_text(known)
    expect(limits).to_contain_text("squamous cell carcinoma")
    expect(limits).to_contain_text("was not measured")
    expect(limits).not_to_contain_text("of 100")
    visit.unfold("details")
    rows = page.locator(".bars tbody tr")
    expect(rows).to_have_count(5)
    expect(page.locator(".bars tbody .tag")).to_have_count(2)
    expect(rows.filter(has_text="Other lesion")).to_contain_text("may be malignant or not")
    expect(page.locator(".bars tfoot")).to_contain_text("30")
    visit.inspect("five-classes")
