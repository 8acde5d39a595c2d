"""A DICOM viewer that is not ours, dwv, draws the report's region on the image that was judged, and on no other."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, sync_playwright

from tests.clients.conftest import TOOLS, installed
from tests.page.browsing import Server, launch
from tests.service.dicom.results import INSTANCE, SERIES, items, read
from tests.service.imaging.dicoms import of_jpeg
from tests.service.tiny_bundle import dark_square, picture_bytes

pytestmark = pytest.mark.xdist_group("clients")

ADDRESS = "http://viewer.test"
PAGE = TOOLS.parents[1] / "dwv.html"
PACKAGES = ("dwv", "konva", "jszip", "magic-wand-tool")
SIDE, SHOWN = 256, 512  # pixels of the image, and of the screen
BACKGROUND = (230, 200, 190)


def photograph(instance: str) -> bytes:
    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    image.paste(dark_square(side=128, start=32), (16, 80))
    return of_jpeg(picture_bytes(image, "JPEG", quality=95), SOPInstanceUID=instance, SeriesInstanceUID=SERIES)


@pytest.fixture
def viewer() -> Iterator[tuple[Page, dict[str, bytes]]]:
    """dwv in a browser, and the files that it may load, by address."""
    for package in PACKAGES:
        installed(TOOLS.parent / package)
    files: dict[str, bytes] = {}

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        if path in files:
            route.fulfill(body=files[path], content_type="application/dicom")
        elif path == "/":
            route.fulfill(path=PAGE, content_type="text/html")
        else:  # decoders are looked for beside the page
            below = f"dwv/dist{path}" if path.startswith("/assets/") else path[1:]
            route.fulfill(path=TOOLS.parent / below, content_type="text/javascript")

    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            pytest.skip("there is no Chromium; Debian's package is called chromium")
        page = browser.new_page(viewport={"width": SHOWN, "height": SHOWN})
        page.route(f"{ADDRESS}/**", serve)
        page.goto(f"{ADDRESS}/")
        page.wait_for_function("document.title === 'ready'")
        yield page, files
        browser.close()


def report(server: Server, key: str, data: bytes) -> bytes:
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/dicom",
        "Content-Type": "application/dicom",
    }
    sent = httpx.post(f"{server.url}/v1/predictions", content=data, headers=headers, timeout=60)
    return sent.raise_for_status().content


def drawn(page: Page) -> tuple[int, int, int, int] | None:
    """Where the viewer's yellow line is, in pixels of the image: left, top, right, bottom."""
    page.wait_for_timeout(500)
    with Image.open(io.BytesIO(page.screenshot())) as seen:
        red, green, blue = np.moveaxis(np.asarray(seen.convert("RGB")).astype(int), 2, 0)
    yellow = (red > 200) & (green > 200) & (blue < 150)
    if not yellow.any():
        return None
    rows, columns = (np.flatnonzero(yellow.any(axis=axis)) * SIDE / SHOWN for axis in (1, 0))
    return round(columns[0]), round(rows[0]), round(columns[-1]), round(rows[-1])


def test_the_region_is_on_the_image_that_was_judged(
    viewer: tuple[Page, dict[str, bytes]], server: Server, key: str
) -> None:
    page, files = viewer
    files["/image"] = photograph(INSTANCE)
    files["/report"] = report(server, key, files["/image"])
    (region,) = [item for name, item in items(read(files["/report"])) if name == "Image Region"]
    xs, ys = region.GraphicData[0::2], region.GraphicData[1::2]
    assert 0 < min(xs) < max(xs) < SIDE
    assert page.evaluate("load('/image')") == "load"
    assert drawn(page) is None
    assert page.evaluate("load('/report')") == "load"
    assert page.evaluate("regions()") == [INSTANCE]
    assert drawn(page) == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=2)


def test_the_region_is_not_on_another_image(viewer: tuple[Page, dict[str, bytes]], server: Server, key: str) -> None:
    page, files = viewer
    files["/image"] = photograph("2.25.9")
    files["/report"] = report(server, key, photograph(INSTANCE))
    assert page.evaluate("load('/image')") == "load"
    assert page.evaluate("load('/report')") == "load"
    assert page.evaluate("regions()") == [INSTANCE]
    assert drawn(page) is None
