"""The page in Firefox and in WebKit: an upload, its answer, overlays, the print, languages, and no error meanwhile."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image

from tests.page.browsing import Server
from tests.page.test_languages import SAID
from tests.page.test_print import pages_of
from tests.page.webdriver import Driven, Firefox, Missing, firefox, webkit

BROWSERS: dict[str, Callable[[Path], AbstractContextManager[Driven]]] = {"Firefox": firefox, "WebKit": webkit}

_UNTIL = """
const until = async (holds) => {
  for (let times = 0; times < 600; times++) {
    const found = holds();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`it never holds: ${holds}`);
};
const one = (selector) => document.querySelector(selector);
const seen = (selector) => one(selector)?.checkVisibility() ?? false;
await until(() => one(".example"));
"""
_UPLOAD = """
const response = await fetch(arguments[0]);
const transfer = new DataTransfer();
transfer.items.add(new File([await response.blob()], "lesion.jpg", { type: "image/jpeg" }));
one("#file").files = transfer.files;
one("#file").dispatchEvent(new Event("change"));
await until(() => one(".decision h3"));
"""
_ANSWER = """
const mark = one(".gauge .risk-mark").getBoundingClientRect();
return {
  said: one(".decision h3").innerText.trim(),
  words: one(".decision").innerText,
  mark: [mark.width, mark.height],
  wide: document.documentElement.scrollWidth <= innerWidth,
  colour: getComputedStyle(one(".decision h3")).color,
  ground: getComputedStyle(document.body).backgroundColor,
};
"""
_OVERLAY = """
one('#maps [value="spatial"]').click();
await until(() => one("#stage .overlay").naturalWidth && !one("#stage .overlay").hidden);
const outline = await until(() => one("#stage .marks .outline"));
const [path, stage] = [outline.getBoundingClientRect(), one("#stage").getBoundingClientRect()];
return {
  said: one("#view-text").innerText,
  influence: one("#influence").innerText,
  within: path.width > 20 && path.left >= stage.left - 1 && path.right <= stage.right + 1,
  stroke: parseFloat(getComputedStyle(outline).strokeWidth),
};
"""
# As print.css has it, with its rules after those of the screen, which do not hold on paper.
_PRINT = """
const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
for (const { media } of rules) if (media?.mediaText.includes("screen")) media.mediaText = "not all";
one('link[media="print"]').media = "all";
await new Promise((resolve) => setTimeout(resolve, 500));
const found = Object.fromEntries(arguments[0].map((selector) => [selector, seen(selector)]));
return found;
"""


@pytest.fixture(params=BROWSERS)
def driven(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driven]:
    try:
        with BROWSERS[request.param](tmp_path) as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))


def inflated(pdf: bytes) -> bytes:
    """The file with what its compressed streams of objects hold."""
    streams = re.findall(rb"/Type\s*/ObjStm.*?stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    return b"\n".join([pdf, *(zlib.decompressobj().decompress(stream) for stream in streams)])


def test_the_page_works_in_other_browsers(driven: Driven, server: Server, pictures_folder: Path) -> None:
    name = type(driven).__name__
    for language in ("de", "es", "en"):
        driven.goto(f"{server.url}/?lang={language}")
        driven.run(_UNTIL + _UPLOAD, "/web/examples/ISIC_0001140.jpg")
        answer = driven.run(_UNTIL + _ANSWER)
        refer, _, share, _ = SAID[language]
        assert answer["said"] == refer
        assert share in answer["words"]
        assert answer["wide"]
        assert min(answer["mark"]) > 10
        assert answer["colour"] != answer["ground"]
    overlay = driven.run(_UNTIL + _OVERLAY)
    assert "of the lesion" in overlay["said"]
    assert "Measured on" in overlay["influence"]
    assert overlay["within"]
    assert overlay["stroke"] > 0
    screenshot = driven.screenshot()
    (pictures_folder / f"{name}.png").write_bytes(screenshot)
    assert len(Image.open(io.BytesIO(screenshot)).convert("RGB").getcolors(2**24) or []) > 1000, "no image is seen"
    if isinstance(driven, Firefox):
        pdf = driven.print()
        (pictures_folder / f"{name}.pdf").write_bytes(pdf)
        assert pages_of(inflated(pdf)) == 1
    printed = {".decision": True, "#report p": True, ".gauge": True, ".limits": True, "#stage": True}
    printed |= {".details": False, ".tools": False, ".overlays": False, ".record": False, "#session": False}
    assert driven.run(_UNTIL + _PRINT, list(printed)) == printed
    assert driven.errors(server.url) == []


def test_an_error_would_be_noticed(driven: Driven, server: Server) -> None:
    driven.goto(server.url)
    driven.run(_UNTIL + 'setTimeout(() => { throw new Error("made for a test"); }); await until(() => true);')
    driven.run("await new Promise((resolve) => setTimeout(resolve, 500));")
    assert any("made for a test" in error for error in driven.errors(server.url))
