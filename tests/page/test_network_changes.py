"""Containers that start and stop on the machine, as they do beside these tests, disturb no request of the browser."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Browser

from tests.compose.stack import missing_engine, run
from tests.page.browsing import Server

# So many at once that some always wait for one of the browser's connections: those are what it would fail. Its cache
# would ask for one after the other.
_ASK = """
async () => {
  window.asked = { answered: 0, failed: 0, going: true };
  const one = async () => {
    const sent = fetch("/healthz", { cache: "no-store" });
    await sent.then(() => asked.answered++, () => asked.failed++);
    if (asked.going) one();
  };
  for (let count = 0; count < 24; count++) one();
}
"""
_COUNT = "() => asked.answered + asked.failed"


def test_a_network_that_comes_and_goes_fails_no_request(browser: Browser, server: Server) -> None:
    if (reason := missing_engine()) is not None:
        pytest.skip(reason)
    page, name = browser.new_page(base_url=server.url, bypass_csp=True), f"cin-page-{os.getpid()}"
    page.goto("/healthz")
    page.evaluate(_ASK)
    page.wait_for_function("asked.answered > 48")
    run("docker", "network", "create", name)
    run("docker", "network", "rm", name)
    page.wait_for_function("(before) => asked.answered + asked.failed > before + 24", arg=page.evaluate(_COUNT))
    asked = page.evaluate("() => { asked.going = false; return asked; }")
    page.close()
    assert asked["failed"] == 0
