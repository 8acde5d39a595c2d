"""The screenshot in the README: the page's answer to its first example image, from a running service in Chromium."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import ViewportSize, expect, sync_playwright

from service.settings import SHIPPED_BUNDLE
from tests.page.browsing import launch, serving

MAX_BYTES = 150_000


def take(path: Path) -> None:
    """Write the PNG; ``RuntimeError`` without Chromium, or when it would be larger than 150 kB."""
    with serving(bundle=SHIPPED_BUNDLE) as server, sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            raise RuntimeError("there is no Chromium on this machine")
        page = browser.new_page(
            base_url=server.url,
            viewport=ViewportSize(width=1280, height=800),
            color_scheme="light",
            reduced_motion="reduce",
        )
        page.goto("/")
        page.locator(".example").first.click()
        page.locator(".decision").wait_for()
        page.locator("#maps label", has_text="Lesion").click()
        expect(page.locator("#view-text")).to_contain_text("attention")
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    # 112 colours are enough for the page, and a third of the bytes.
    file = io.BytesIO()
    image.quantize(112, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    if file.tell() > MAX_BYTES:
        raise RuntimeError(f"the screenshot has {file.tell():,} bytes, more than {MAX_BYTES:,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())
