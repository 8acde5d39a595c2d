"""Every state of the page in every language, from a telephone's width to a wall's: axe, and nothing sideways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, Route

from service.prediction.decision import Reason
from tests.page.browsing import Server
from tests.page.conftest import RULES, UPLOAD, Open, Visit
from tests.page.test_abstention import abstaining

WIDTHS = (320, 768, 1280, 3840)
# What a width may change; all other rules are checked at one.
OF_LAYOUT = ["color-contrast", "target-size", "scrollable-region-focusable"]
_RUN = """async (only) => {
  const { violations } = await axe.run({ resultTypes: ["violations"], runOnly: only });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}"""


def with_every_caution(route: Route) -> None:
    response = route.fetch()
    answer: dict[str, Any] = response.json()
    answer["decision"] |= {"status": "caution", "reasons": list(get_args(Reason))}
    route.fulfill(response=response, json=answer)


def states(visit: Visit) -> Iterator[str]:
    """Bring the page into one state after the other, by what is the same in all languages."""
    page = visit.page

    def answered(which: int) -> None:
        page.locator("#new").click()
        visit.example(which)
        for folded in ("clinic", "details"):
            if page.locator(f"#{folded}").count():
                visit.unfold(folded)

    yield "start"
    page.route(UPLOAD, lambda route: None)  # for ever
    page.locator(".example").first.click()
    page.locator(".progress").wait_for()
    yield "progress"
    page.locator("#give-up").click()
    page.locator("#undo").wait_for()
    page.unroute(UPLOAD)
    yield "undo"
    page.locator("#impression-first").check()
    page.locator(".example").first.click()
    page.locator(".ask").wait_for()
    yield "question"
    page.locator("#new").click()
    page.locator("#impression-first").uncheck()
    page.set_input_files("#file", {"name": "lesion", "mimeType": "text/plain", "buffer": b"no picture"})
    page.locator(".problem").wait_for()
    yield "refused"
    answered(0)
    page.evaluate("for (const each of document.querySelectorAll('.keys')) each.open = true")
    page.locator("#maps label").nth(2).click()
    page.locator("#legend").wait_for()
    yield "map"
    page.locator(".model .link").click()
    yield "card"
    page.locator("#card-close").click()
    page.evaluate("document.getElementById('key').showModal()")
    yield "key"
    page.evaluate("document.getElementById('key').close()")
    page.context.set_offline(True)
    page.locator("#maps label").nth(3).click()
    page.locator("#notice").wait_for()
    yield "offline"
    page.context.set_offline(False)
    for name, change in (("cautions", with_every_caution), ("abstained", abstaining)):
        page.route(UPLOAD, change)
        answered(1)
        page.unroute(UPLOAD)
        yield name
    page.locator("#list").click()
    yield "list"
    page.locator("#compare").click()
    page.locator(".differences").wait_for()
    yield "comparison"


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_every_state_at_every_width(visit_to: Open, server: Server, language: str) -> None:
    visit = visit_to(server.url, "415", "net::ERR_INTERNET_DISCONNECTED", locale=language, reduced_motion="reduce")
    page = visit.page
    page.evaluate(AXE_SCRIPT)
    found = [each for state in states(visit) for each in violations(page, state)]
    assert not found, "\n".join(found)


def violations(page: Page, state: str, widths: Sequence[int] = WIDTHS) -> list[str]:
    """What is wrong with a state at each width; the page has axe."""
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": max(640, width * 9 // 16)})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            found.append(f"{state} at {width}: needs {needed}")
        said = page.evaluate(_RUN, RULES["light"] if width == 1280 else OF_LAYOUT)
        found += [f"{state} at {width}: {each}" for each in said]
    return found
