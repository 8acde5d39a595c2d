"""Images that cost a lot to decode, and decoders that die: what their senders are answered."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from service.imaging.fork_server import ForkServer
from tests.service.decoders import decoders
from tests.service.hostile import LARGEST, claiming, costly_profile, large
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import check_problem, post

LARGEST_PICTURE = large("PNG")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_a_profile_that_costs_minutes_is_ignored_and_noted(client: TestClient, image_format: str) -> None:
    data = picture_bytes(dark_square(), image_format, icc_profile=costly_profile())
    began = time.monotonic()
    answer = post(client, data)
    assert time.monotonic() - began < 5
    assert answer.json()["image"]["notes"] == ["profile_ignored"]


def test_a_decoder_that_is_killed_is_no_fault_of_the_picture(client: TestClient) -> None:
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(post, client, LARGEST_PICTURE)
        while not (busy := [process for process in decoders() if process.memory_info().rss > 60e6]):
            time.sleep(0.002)
        busy[0].kill()
        check_problem(answer.result(), 503)
        assert answer.result().headers["retry-after"] == "5"
    assert post(client, picture_bytes(dark_square())).status_code == 200
    assert 'cin_decoders_replaced_total{reason="killed"} 1.0' in client.get("/metrics").text


def test_a_costly_picture_is_answered_or_refused_with_a_way_out(client: TestClient) -> None:
    assert post(client, LARGEST_PICTURE).status_code == 200
    check_problem(post(client, claiming(picture_bytes(dark_square(), "WEBP"), LARGEST)), 422, "JPEG")


def test_costly_pictures_that_would_wait_for_long_are_refused_at_once(client: TestClient) -> None:
    """One is decoded and one waits; the other slots stay free."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(client, LARGEST_PICTURE), range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) < len(answers)
    assert refused
    for answer in refused:
        check_problem(answer, 429, name="queue-full")
        assert answer.headers["retry-after"] == "1"


def test_a_service_that_cannot_start_decoders_asks_for_no_pictures(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForkServer, "failing", True)
    assert client.get("/readyz").status_code == 503
    check_problem(client.get("/admission"), 503)
    monkeypatch.undo()
    assert client.get("/readyz").status_code == 200
    assert client.get("/admission").status_code == 204
