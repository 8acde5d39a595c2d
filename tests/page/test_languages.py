"""The page in each of its languages: every word, numbers and dates as they are written there."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.page.browsing import Server
from tests.page.conftest import Open, Visit

# Refer, no referral, a decimal, the way to the list.
SAID = {
    "en": ("Refer", "No referral advised for melanoma", "18.7%", "List"),
    "de": ("Überweisen", "Keine Überweisung wegen Melanom empfohlen", "18,7\N{NO-BREAK SPACE}%", "Liste"),
    "es": ("Derivar", "No se aconseja derivar por melanoma", "18,7\N{NO-BREAK SPACE}%", "Lista"),
}

# A function's shape is how many arguments it has; German and Spanish may use fewer, never more.
_SHAPES = """async () => {
  const shape = (value, path) => typeof value === "object"
    ? Object.entries(value).flatMap(([key, each]) => shape(each, path ? `${path}.${key}` : key))
    : [[path, typeof value, typeof value === "string" && value.trim() === ""]];
  const found = {};
  for (const language of ["en", "de", "es"]) {
    found[language] = [];
    for (const part of ["page", "answer", "time"]) {
      const { text } = await import(`/web/strings/${language}/${part}.js`);
      found[language].push(...shape(text, ""));
    }
  }
  return found;
}"""


def test_every_catalogue_is_complete(visit: Visit) -> None:
    shapes = visit.page.evaluate(_SHAPES)
    assert len(shapes["en"]) > 200
    assert {empty for _, _, empty in shapes["en"]} == {False}
    assert sorted(shapes["de"]) == sorted(shapes["en"])
    assert sorted(shapes["es"]) == sorted(shapes["en"])


@pytest.mark.parametrize("language", ["de", "es"])
def test_an_answer_in_another_language(visit_to: Open, server: Server, language: str) -> None:
    visit = visit_to(server.url, locale={"de": "de-AT", "es": "es-MX"}[language])
    page = visit.page
    refer, below, share, to_the_list = SAID[language]
    assert page.locator("html").get_attribute("lang") == {"de": "de-DE", "es": "es-ES"}[language]
    visit.inspect(f"{language}-start")
    visit.example()
    expect(page.locator(".decision h3")).to_have_text(refer)
    expect(page.locator(".decision")).to_contain_text(share)
    visit.unfold("clinic")
    visit.unfold("details")
    visit.inspect(f"{language}-refer")
    page.locator(".model .link").click()
    expect(page.locator("#card-title")).to_contain_text({"de": "auf Englisch", "es": "en inglés"}[language])
    expect(page.locator("#card-text")).to_have_attribute("lang", "en")
    page.keyboard.press("Escape")
    page.locator("#new").click()
    visit.example(1)
    expect(page.locator(".decision h3")).to_have_text(below)
    visit.inspect(f"{language}-below")
    page.get_by_role("button", name=to_the_list, exact=True).click()
    visit.inspect(f"{language}-list")
    words = page.locator("body").inner_text()
    for english in ("Melanoma risk", "Cannot recognise", "threshold", "Delete", "This session"):
        assert english not in words
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.locator(".item .open").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.get_by_role("button", name=to_the_list, exact=True).click()


def test_the_address_and_a_choice_decide_the_language(visit: Visit) -> None:
    page = visit.page
    for address, expected in (("/?lang=de", "Überweisen"), ("/?lang=xx", "Refer")):
        page.goto(address)
        visit.example()
        expect(page.locator(".decision h3")).to_have_text(expected)
    page.goto("/?lang=de")
    page.locator("#language").select_option("es")
    expect(page.locator("html")).to_have_attribute("lang", "es-ES")
    assert "lang" not in page.url
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "es-ES")
    kept = json.loads(page.evaluate("Object.values(localStorage)[0]"))
    assert kept["language"] == "es"


def test_dates_and_times_are_written_as_there(visit_to: Open, server: Server) -> None:
    visit = visit_to(server.url, locale="de-DE")
    visit.example()
    expect(visit.page.locator("#report")).to_contain_text(re.compile(r"\d{1,2}\. \w+ 20\d\d um \d\d:\d\d"))
