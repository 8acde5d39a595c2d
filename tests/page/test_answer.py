"""What is said of an image at first sight and on a closer look: the decision, its limits, the evidence."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from service.bundle import Interval, load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.page.browsing import Server
from tests.page.conftest import UPLOAD, Open, Visit
from tests.page.pictures import EXAMPLE, hand_over

NO_DEVICE = re.compile("not a medical device|kein Medizinprodukt|no es un producto sanitario")
MARKDOWN = """# One

Some **bold `code` words** and *italics*, see [the docs](docs/a.md).
- one
  more
- two

1. first
2. second

| a | b |
|---|---|
| 1 | x \\| y |

![plot](a.png)
<!-- unseen -->
"""


def answered(visit: Visit, which: int = 0) -> dict[str, Any]:
    """What the service answers to an example that the page shows."""
    with visit.page.expect_response(UPLOAD) as predicted:
        visit.example(which)
    prediction: dict[str, Any] = predicted.value.json()
    return prediction


def place(page: Page, name: str) -> float:
    """Where a mark is on the gauge, 0 at its left end and 1 at its right."""
    return float(page.locator(f".gauge .{name}").first.evaluate("(mark) => mark.style.getPropertyValue('--at')"))


def rough(share: float) -> str:
    return f"{share:.0%}" if 0.0995 <= share <= 0.9005 else f"{share:.1%}"


def test_the_decision_is_the_services(visit: Visit) -> None:
    page = visit.page
    for which, statement in enumerate(("Refer", "No referral advised for melanoma")):
        if which:
            page.get_by_role("button", name="New image").click()
        decision = answered(visit, which)["decision"]
        expect(page.locator(".decision h3")).to_have_text(statement)
        expect(page.locator(".risk strong")).to_have_text(rough(decision["malignant_probability"]))
        expect(page.locator(".gauge-label")).to_have_text(f"Decision threshold {rough(decision['threshold'])}")
        assert (place(page, "risk-mark") >= place(page, "threshold")) is decision["refer"]
        expect(page.locator(".decision")).to_contain_text("population with 18.7% melanoma")
        expect(page.locator("#status")).to_contain_text(statement)
        expect(page.locator(".decision")).to_contain_text("If fewer: lower risk, same advice")
        visit.inspect(f"answer-{which}")
    expect(page.locator(".decision")).to_contain_text("Not ruled out: if in doubt, refer.")


def test_a_referral_below_the_threshold_says_why(visit: Visit) -> None:
    """The rule for lesions that the network does not know."""

    def unsure(route: Route) -> None:
        response = route.fetch()
        answer: dict[str, Any] = response.json()
        assert answer["decision"]["malignant_probability"] < answer["decision"]["threshold"]
        answer["decision"] |= {"refer": True, "status": "caution", "reasons": ["not_sure"]}
        route.fulfill(response=response, json=answer)

    page = visit.page
    page.route(UPLOAD, unsure)
    visit.example(1)
    decision = page.locator(".decision")
    expect(decision.locator("h3")).to_have_text("Refer")
    expect(decision.get_by_role("img")).to_have_accessible_name(re.compile("below the decision threshold"))
    expect(decision.locator(".reasons")).to_contain_text("none of the diagnoses it knows is likely enough")
    assert place(page, "risk-mark") < place(page, "threshold")
    visit.inspect("not-sure")


def test_its_limits_are_always_there(visit: Visit) -> None:
    visit.example()
    limits = visit.page.locator(".limits")
    for said in (
        "Cannot recognise",
        "clinical photographs",
        "basal cell carcinoma",
        "squamous cell carcinoma",
        "anything else. It knows melanoma",
        "naevus",
    ):
        expect(limits).to_contain_text(said)
    point = load_bundle(SHIPPED_BUNDLE).manifest.operating_point()
    expect(limits).to_contain_text(f"missed {round(100 * (1 - point.sensitivity.value))} of 100 melanomas")
    expect(limits).to_contain_text(f"flagged {round(100 * (1 - point.specificity.value))} of 100 harmless lesions")


@pytest.mark.parametrize(
    ("size", "language"),
    [
        ((1280, 800), "en"),
        ((820, 1180), "en"),
        ((390, 844), "en"),
        ((390, 844), "de"),
        ((390, 844), "es"),
        ((844, 390), "en"),
        ((640, 400), "en"),
    ],
    ids=["desktop", "tablet", "phone", "phone, de", "phone, es", "sideways", "zoomed to 200 %"],
)
def test_the_first_screen_has_the_decision_and_the_picture(
    visit_to: Open, server: Server, size: tuple[int, int], language: str
) -> None:
    width, height = size
    visit = visit_to(server.url, locale=language, viewport={"width": width, "height": height})
    page = visit.page
    visit.example(1)

    def bottom(place: Locator) -> float:
        box = place.bounding_box()
        assert box is not None
        return box["y"] + box["height"]

    assert page.evaluate("scrollY") == 0
    # On a phone the tools lie over the lower edge.
    tools = page.locator(".tools").bounding_box()
    assert tools is not None
    end = tools["y"] if tools["y"] > height / 2 else height
    expect(page.get_by_text(NO_DEVICE).filter(visible=True).first).to_be_in_viewport()
    assert bottom(page.locator(".gauge")) <= end
    assert bottom(page.locator("#stage")) <= end
    if height > 500:
        assert bottom(page.locator(".decision")) <= end


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_three_cautions_leave_the_picture_on_a_phones_first_screen(
    visit_to: Open, server: Server, language: str
) -> None:
    def cautious(route: Route) -> None:
        response = route.fetch()
        answer: dict[str, Any] = response.json()
        reasons = ["lesion_touches_border", "several_lesions", "branches_disagree"]
        answer["decision"] |= {"status": "caution", "reasons": reasons}
        route.fulfill(response=response, json=answer)

    visit = visit_to(server.url, locale=language, has_touch=True, viewport={"width": 390, "height": 844})
    page = visit.page
    page.route(UPLOAD, cautious)
    hand_over(page, "paste", EXAMPLE.read_bytes())
    page.locator(".decision").wait_for()
    expect(page.locator(".reasons li")).to_have_count(3)
    picture, tools = (page.locator(name).bounding_box() for name in ("#stage", ".tools"))
    assert picture is not None
    assert tools is not None
    assert picture["y"] + picture["height"] <= tools["y"]


def test_no_benign_diagnosis_is_above_a_malignant_one(visit: Visit) -> None:
    prediction = answered(visit)
    page = visit.page
    assert prediction["decision"]["refer"]
    assert "aevus" not in page.locator(".decision").inner_text().replace(page.locator(".limits").inner_text(), "")
    visit.unfold("details")
    rows = page.locator(".bars tbody tr").all()
    shown = {row.locator(".class").inner_text(): float(row.locator("td.mean").inner_text().rstrip("%")) for row in rows}
    labels = {"melanoma": "Melanoma", "nevus": "Naevus", "seborrheic_keratosis": "Seborrhoeic keratosis"}
    expected = {labels[name]: round(share * 100, 1) for name, share in prediction["probabilities"].items()}
    assert shown == pytest.approx(expected, abs=0.051)
    assert next(iter(shown)) == "Melanoma"
    for branch, column in zip(prediction["branches"], (1, 2), strict=True):
        assert rows[0].locator("td").nth(column).inner_text() == f"{branch['probabilities']['melanoma']:.1%}"
    bar, tick = (page.locator(f".bars .{name}").first.bounding_box() for name in ("bar", "threshold"))
    assert bar is not None
    assert tick is not None
    assert (tick["x"] - bar["x"]) / bar["width"] == pytest.approx(prediction["decision"]["threshold"], abs=0.01)
    expect(page.locator(".model")).to_contain_text(prediction["model"]["sha256"])
    visit.inspect("details")
    point = load_bundle(SHIPPED_BUNDLE).manifest.operating_point()
    for rate in (point.sensitivity, point.specificity):
        for value in vars(rate).values():
            expect(page.locator(".performance")).to_contain_text(f"{value:.1%}")


def test_what_was_measured_is_said_in_plain_words(visit: Visit) -> None:
    said = """async ([sensitivity, specificity, chosen_on]) => {
      const { inTesting, isHeldOut } = await import("/web/wording.js");
      const point = { sensitivity, specificity, chosen_on };
      return [inTesting(point, { classes: [{ name: "melanoma", malignant: true }] }), isHeldOut(point)];
    }"""

    def words(sensitivity: float, specificity: float, chosen_on: str | None = None) -> list[Any]:
        rates = (Interval(value=rate, low=rate, high=rate).model_dump() for rate in (sensitivity, specificity))
        found: list[Any] = visit.page.evaluate(said, [*rates, chosen_on])
        return found

    sentence, held_out = words(0.846, 0.634, "validation")
    assert sentence == "It missed 15 of 100 melanomas and flagged 37 of 100 harmless lesions."
    assert held_out
    sentence, held_out = words(0.998, 0.97)
    assert sentence == "It missed fewer than 1 of 100 melanomas and flagged 3 of 100 harmless lesions."
    assert not held_out


def test_no_rounding_claims_certainty(visit: Visit) -> None:
    shown = """async () => {
      const { percent } = await import("/web/format.js");
      const { text } = await import("/web/strings.js");
      return [...[0, 0.0001, 0.123, 0.9999, 1].map((share) => percent(share)),
        text.decision.because(["Melanoma"], 0.12341, 0.12344, false)];
    }"""
    *shares, because = visit.page.evaluate(shown)
    assert shares == ["0.0%", "<0.1%", "12.3%", ">99.9%", "100.0%"]
    assert because == "Melanoma risk 12.341%, below the decision threshold of 12.344%."


def test_the_model_card_is_the_bundles(visit: Visit) -> None:
    visit.example()
    visit.unfold("details")
    visit.page.get_by_role("button", name="Read the model card").click()
    card = visit.page.locator("#card-text")
    text = (SHIPPED_BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert card.locator("h4").all_inner_texts() == headings
    expect(card.locator("table")).to_have_count(len(re.findall(r"^\|[ -|]*---", text, re.MULTILINE)))
    assert card.locator("li").count() == len(re.findall(r"^- ", text, re.MULTILINE))
    for debris in ("**", "|", "`", "](", "##"):
        assert debris not in card.inner_text()
    visit.inspect("card")


def test_every_kind_of_markdown_becomes_an_element(visit: Visit) -> None:
    made = """async (text) => {
      const { cardOf } = await import("/web/dialogs.js");
      const around = document.createElement("div");
      around.append(...cardOf(text));
      const names = [...around.querySelectorAll("*")].map(({ tagName }) => tagName.toLowerCase());
      return [names.join(" "), around.textContent];
    }"""
    elements, text = visit.page.evaluate(made, MARKDOWN)
    assert elements == ("h3 p strong code em ul li li ol li li div table thead tr th th tbody tr td td")
    assert text == "OneSome bold code words and italics, see the docs.one moretwofirstsecondab1x | y"


def test_the_reader_answers_first_if_they_like(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("switch", name="Ask for my impression first").check()
    page.locator(".example").first.click()
    page.locator(".ask").wait_for()
    for hidden in (".decision", ".bars", "#overlays"):
        expect(page.locator(hidden)).to_be_hidden()
    assert "%" not in page.locator("#session").inner_text()
    visit.inspect("impression")
    page.locator(".ask label", has_text="Unsure").click()
    page.get_by_role("button", name="Show the answer").click()
    expect(page.locator(".decision")).to_contain_text("Your impression before the answer: unsure.")
    for which, mine in ((0, "Refer"), (1, "Refer")):
        page.get_by_role("button", name="New image").click()
        page.locator(".example").nth(which).click()
        page.locator(".ask label", has_text=re.compile(f"^{mine}$")).click()
        page.get_by_role("button", name="Show the answer").click()
    expect(page.locator(".decision")).to_contain_text("Agreement in this session: 1 of 2.")
