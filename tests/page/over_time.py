"""A clinic's lesions, as its images show them, and the page's part about them."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.page.conftest import Visit
from tests.service.tiny_bundle import dark_square, picture_bytes

Colour = tuple[int, int, int]


def files(*colours: Colour) -> list[FilePayload]:
    """Images for the page; red ones are referred, the redder the higher their risk, and blue ones are not."""
    return [
        {"name": f"{at}.png", "mimeType": "image/png", "buffer": picture_bytes(dark_square(colour))}
        for at, colour in enumerate(colours)
    ]


def take(page: Page, lesion: str, visit: str, colours: Sequence[Colour]) -> None:
    """Send images of one lesion at one visit, from any part of the page, and wait for all answers."""
    if page.locator("#start").is_hidden():
        page.locator("#new").click()
    before = page.locator("#session .item").count()
    page.locator(".next .lesion").fill(lesion)
    if visit:
        page.locator(".next .visit").fill(visit)
    page.set_input_files("#file", files(*colours))
    expect(page.locator("#session .item:is(.refer, .no_referral, .abstained)")).to_have_count(before + len(colours))


def answer(form: Locator, **said: str) -> None:
    """Fill in what a clinician says, by the names of the fields, and write it down."""
    form.get_by_role("button", name="Write down").wait_for()  # what unfolds is made a moment after the click
    before = form.locator(".said li").count()
    if opinion := said.pop("opinion", ""):
        form.get_by_role("radio", name=opinion, exact=True).check()
    for name, value in said.items():
        form.get_by_label(name.capitalize().replace("_", " ")).select_option(label=value)
    form.get_by_role("button", name="Write down").click()
    expect(form.locator(".said li")).to_have_count(before + 1)


def overview(visit: Visit) -> Locator:
    """The page's list of what is due; its parts are the worklist, the recalls and the lesions."""
    visit.page.locator("#follow").click()
    visit.page.locator(".due").first.wait_for()
    return visit.page.locator("#time")


def timeline(visit: Visit, lesion: str) -> Locator:
    """The timeline of a lesion."""
    overview(visit).locator(".due").last.get_by_role("button", name=f"Timeline of {lesion}", exact=True).click()
    expect(visit.page.locator("#time-title")).to_have_text(f"Timeline of {lesion}")
    visit.page.locator(".visits").wait_for()
    return visit.page.locator("#time")
