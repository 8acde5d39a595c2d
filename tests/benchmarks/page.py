"""Measure the page in a browser, and write ``results/page.json``: how soon it is seen, and how soon an answer is.

``python -m tests.benchmarks.page``; needs Chromium.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from playwright.sync_api import Browser, sync_playwright

from model_training.files import write_text
from model_training.training.revision import git_commit
from service.api.routes.page import read_assets
from service.settings import SHIPPED_BUNDLE, usable_cpus
from tests.page.browsing import launch, serving
from tests.paths import REPOSITORY

# When the answer is on the screen: two frames after it is in the document.
_WATCH = """
new MutationObserver((_, observer) => {
  if (!document.querySelector(".decision")) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.answerShown = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_ANSWERED = """() => {
  const reply = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("/v1/predictions"));
  return reply && window.answerShown ? window.answerShown - reply.responseEnd : null;
}"""
_MAP_SHOWN = """async () => {
  const began = performance.now();
  document.querySelector('[name="map"][value="spatial"]').click();
  const overlay = document.querySelector("#stage .overlay");
  while (!overlay.src) await new Promise(requestAnimationFrame);
  await overlay.decode();
  return performance.now() - began;
}"""


def measure(browser: Browser, url: str) -> dict[str, float]:
    """One visit with empty caches: milliseconds."""
    context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(_WATCH)
    page.goto("/")
    page.locator(".example").first.click()
    while (answered := page.evaluate(_ANSWERED)) is None:
        page.wait_for_timeout(10)
    figures = {
        "first contentful paint": page.evaluate(_PAINTED),
        "answer on the screen after the service's reply": answered,
        "map on the screen after the click": page.evaluate(_MAP_SHOWN),
    }
    context.close()
    return figures


def main(
    visits: Annotated[int, typer.Option(min=1, help="Visits, each with empty caches.")] = 30,
    out: Annotated[Path, typer.Option(help="File to write.")] = REPOSITORY / "results" / "page.json",
) -> None:
    """Measure how soon the page and an answer are seen, with the service on the same machine."""
    load = os.getloadavg()[0]
    with sync_playwright() as playwright, serving(bundle=SHIPPED_BUNDLE) as server:
        browser = launch(playwright)
        if browser is None:
            raise typer.BadParameter("there is no Chromium on this machine")
        measure(browser, server.url)  # the browser's own first time
        measured = [measure(browser, server.url) for _ in range(visits)]
        assets = read_assets()
        result = {
            "command": "python -m tests.benchmarks.page " + " ".join(sys.argv[1:]),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(),
            "browser": f"Chromium {browser.version}",
            "cores": usable_cpus(),
            "load average before": round(load, 1),
            "visits": visits,
            "bytes without the examples": sum(
                len(asset.content) for name, asset in assets.items() if not name.startswith("examples/")
            ),
            "milliseconds": {
                name: {
                    "median": round(float(np.median([figures[name] for figures in measured])), 1),
                    "p95": round(float(np.percentile([figures[name] for figures in measured], 95)), 1),
                    "highest": round(max(figures[name] for figures in measured), 1),
                }
                for name in measured[0]
            },
        }
    write_text(out, json.dumps(result, indent=2) + "\n")
    typer.echo(json.dumps(result["milliseconds"], indent=2))


if __name__ == "__main__":
    typer.run(main)
