"""``cin serve``: where it may be reached without keys, and where its metrics are."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from service.bundle import Bundle
from tests.service.served import cin, make_key, served
from tests.service.waiting import wait_until
from tests.service.wire import check_problem


def _refused(**settings: str) -> str:
    done = cin("serve", CIN_PORT="0", CIN_PROVIDER="cpu", **settings)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


def test_other_machines_are_not_served_without_keys(tmp_path: Path) -> None:
    for settings in ({"CIN_HOST": "0.0.0.0"}, {"CIN_PUBLISHED": "8000"}, {"CIN_PUBLISHED": "192.0.2.1:80"}):
        line = _refused(**settings)
        assert "cin keys create" in line
        assert "CIN_ALLOW_ANYONE=true" in line
    assert "cin keys create" in _refused(CIN_HOST="0.0.0.0", CIN_KEYS=str(tmp_path / "none.json"))


def test_they_are_when_that_is_said_in_so_many_words(tiny_bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    make_key(keys, "clinic")
    several: tuple[dict[str, Any], ...] = (
        {"CIN_HOST": "0.0.0.0", "CIN_ALLOW_ANYONE": "true"},
        {"CIN_HOST": "0.0.0.0", "CIN_KEYS": str(keys)},
        # A container's own address is beyond loopback, where it is published is not.
        {"CIN_HOST": "0.0.0.0", "CIN_PUBLISHED": "127.0.0.1:8000", "CIN_KEYS": ""},
    )
    for settings in several:
        with served(tiny_bundle.folder, **settings) as service:
            assert service.end() == 0
            warned = "other machines can reach" in "".join(service.output)
            assert warned == ("CIN_ALLOW_ANYONE" in settings)


def test_prometheus_has_a_port_of_its_own_that_asks_for_no_key(tiny_bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    make_key(keys, "clinic")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        assert "CIN_METRICS_PORT" in _refused(CIN_BUNDLE=str(tiny_bundle.folder), CIN_METRICS_PORT=str(port))
    told: list[str] = []
    enough = threading.Event()

    def scrape() -> None:
        while not enough.wait(0.01):
            with suppress(httpx.TransportError):
                told.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        with served(tiny_bundle.folder, CIN_KEYS=str(keys), CIN_METRICS_PORT=str(port)) as service:
            with service.client() as client:
                check_problem(client.get("/metrics"), 401)
            wait_until(lambda: len(told) > 1, "it was scraped")
    finally:
        enough.set()
        scraper.join()
    assert all("cin_canary_ok 1.0" in text and "cin_ready 1.0" in text for text in told), "from the first time on"
