"""What the attention maps are said to show: where their peaks are, and how much they influence answers."""

from __future__ import annotations

import re

from playwright.sync_api import Route, expect

from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.page.conftest import Visit
from tests.page.maps import relate


def test_nothing_is_related_where_every_spot_shows_the_same(visit: Visit) -> None:
    page = visit.page
    visit.example()
    visit.choose_map("Correlation")
    measured = load_bundle(SHIPPED_BUNDLE).manifest.attention_influence
    assert measured is not None
    assert measured.row_spread < 0.25
    page.locator("#stage").click()
    page.locator("#stage").press("ArrowUp")
    page.locator("#stage").press("Enter")
    expect(page.locator("#stage .spot")).to_have_count(0)
    expect(page.locator("#view-text")).not_to_contain_text("related")


def test_the_influence_of_maps_is_said_with_them(visit: Visit) -> None:
    page = visit.page
    influence = page.locator("#influence")
    visit.example()
    expect(influence).to_be_hidden()
    visit.choose_map("Lesion")
    expect(influence).to_contain_text("sets the dashed crop")
    visit.choose_map("Spatial")
    measured = load_bundle(SHIPPED_BUNDLE).manifest.attention_influence
    assert measured is not None
    most = f"{100 * measured.percentile_95_change:.1f} in 95 of 100"
    advice = f"the advice in {round(measured.other_advice.value * measured.num_images)} of {measured.num_images}"
    for said in (most, advice, measured.measured_on):
        expect(influence).to_contain_text(said)
    assert measured.percentile_95_change > 0.05
    expect(influence).not_to_contain_text("explain little")
    visit.inspect("influence")


def test_maps_that_hardly_act_are_said_to_explain_little(visit: Visit) -> None:
    relate(visit, most=0.04)
    visit.example()
    visit.choose_map("Spatial")
    expect(visit.page.locator("#influence")).to_contain_text("and 4 in 95 of 100")
    expect(visit.page.locator("#influence")).to_contain_text("explain little of an answer")


def test_peaks_are_named_by_the_lesion(visit: Visit) -> None:
    page = visit.page
    visit.example()
    with page.expect_response(re.compile("maps/spatial/summary")) as answered:
        visit.choose_map("Spatial")
    peaks = answered.value.json()["peaks"]
    assert peaks
    expect(page.locator("#view-text")).to_contain_text("of the lesion")
    for peak in peaks:
        expect(page.locator("#view-text")).to_contain_text(f"({peak['value']:.1f}".rstrip("0").rstrip(".") + "×)")


def square(left: int, side: int) -> list[dict[str, int]]:
    return [{"x": left + x * side, "y": 100 + y * side} for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]


def test_what_the_risk_of_several_regions_covers(visit: Visit) -> None:
    rings = [square(100, 200), square(400, 50), square(600, 2), square(150, 20)[::-1]]  # two, a speck, and a hole

    def several(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"outline": rings})

    said = visit.page.locator("#view-text")
    visit.example()
    expect(said).to_contain_text("the outline of the lesion")
    visit.page.route("**/maps/lesion/summary*", several)
    visit.page.get_by_role("button", name="New image").click()
    visit.example(1)
    expect(said).to_contain_text("the outlines of 2 regions it found; the risk covers all of them together")
