"""A real browser before a real service; one of each for all tests here, gone after the last.

While it lives, the browser's driver keeps an event loop running in this thread, which no test elsewhere expects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from service.bundle import Bundle
from service.settings import SHIPPED_BUNDLE
from tests.page.browsing import Server, launch, serving
from tests.service.api.followed import repeatable_bundle
from tests.service.tiny_bundle import write_tiny_bundle

# An image on its way to the service; a kept prediction has a longer path.
UPLOAD = "**/v1/predictions*"

_FAILED_LOAD = re.compile(r"Failed to load resource: (?:the server responded with a status of (\d+)|(net::\w+))")
_LAPTOP = ViewportSize(width=1280, height=800)


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """The service with the shipped bundle."""
    with serving(bundle=SHIPPED_BUNDLE) as running:
        yield running


@pytest.fixture(scope="package")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """For services of which little more than their errors is wanted."""
    return write_tiny_bundle(tmp_path_factory.mktemp("page") / "tiny")


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """What drives the browser."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One browser for all tests; each gets a context of its own."""
    browser = launch(playwright)
    if browser is None:
        pytest.skip("there is no Chromium; Debian's package is called chromium")
    yield browser
    browser.close()


@dataclass
class Watch:
    """What went wrong in a page: the console's errors, what it asked of others. Empty at the end of every test."""

    url: str
    expected: set[str] = field(default_factory=set)  # statuses and network errors that a test brings about
    complaints: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        """Chromium also reports violations of the content security policy here."""
        if message.type not in ("error", "warning"):
            return
        failed = _FAILED_LOAD.match(message.text)
        if failed is None or (failed[1] or failed[2]) not in self.expected:
            self.complaints.append(message.text)

    def on_request(self, request: Request) -> None:
        """Nothing may be asked of anybody but the service."""
        if not request.url.startswith((self.url, f"blob:{self.url}")):
            self.complaints.append(f"asked elsewhere: {urlsplit(request.url).netloc}")


@dataclass(frozen=True)
class Visit:
    """The page in a browser, with its errors collected."""

    page: Page
    watch: Watch
    folder: Path

    def example(self, which: int = 0) -> None:
        """Start page to an answer."""
        self.page.locator(".example").nth(which).click()
        self.page.locator(".decision").wait_for()

    def unfold(self, which: str) -> None:
        """Open ``details`` or ``clinic``, unless it is open."""
        if not self.page.locator(f"#{which}").evaluate("(folded) => folded.open"):
            self.page.locator(f"#{which} > summary").click()

    def choose_map(self, name: str) -> None:
        """Lay a map over the image, and wait for it."""
        self.page.locator("#maps label", has_text=name).click()
        expect(self.page.locator("#view-text")).to_contain_text(name, ignore_case=True)
        expect(self.page.locator("#view-text")).to_contain_text("attention")

    def inspect(self, name: str) -> None:
        """A state: images of it, and no violation of the accessibility rules in either theme."""
        for theme, rules in RULES.items():
            self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            self.page.screenshot(path=self.folder / f"{name}-{theme}.png", full_page=True)
            found = Axe().run(self.page, options={"resultTypes": ["violations"], "runOnly": rules})
            assert found.violations_count == 0, f"{name}, {theme}: {found.generate_report()}"


# The themes differ in nothing but colours.
RULES: dict[Literal["light", "dark"], list[str]] = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "dark": ["cat.color"],
}


@pytest.fixture(scope="package")
def pictures_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: ``PAGE_SCREENSHOTS``, or a temporary folder."""
    folder = Path(os.environ.get("PAGE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


Open = Callable[..., Visit]


@pytest.fixture
def visit_to(browser: Browser, pictures_folder: Path) -> Iterator[Open]:
    """Open the page of a server; at the end nothing may have gone wrong in it."""
    visits: list[Visit] = []

    def opened(url: str, *expected: str, **options: Any) -> Visit:
        context = browser.new_context(base_url=url, **{"viewport": _LAPTOP, **options})
        context.set_default_timeout(10_000)
        page, watch = context.new_page(), Watch(url, set(expected))
        page.on("console", watch.on_console)
        page.on("pageerror", lambda error: watch.complaints.append(str(error)))
        page.on("request", watch.on_request)
        page.goto("/")
        page.locator(".example").first.wait_for()
        visits.append(Visit(page, watch, pictures_folder))
        return visits[-1]

    yield opened
    complaints = [complaint for visit in visits for complaint in visit.watch.complaints]
    for visit in visits:
        visit.page.context.close()
    assert complaints == []


@pytest.fixture
def visit(visit_to: Open, server: Server) -> Visit:
    """The page of the service with the shipped bundle."""
    return visit_to(server.url)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with a ledger."""
    folder = tmp_path_factory.mktemp("clinic")
    with serving(bundle=repeatable_bundle(folder).folder, ledger=folder / "ledger.sqlite") as running:
        yield running
