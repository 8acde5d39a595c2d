"""Under load and in trouble: the queue, deadlines, clients that leave, a service that can no longer be trusted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
import httpx
import numpy as np
import pytest
from PIL import Image

from service.app import create_app
from service.bundle import Bundle
from service.inference.sessions import HostSession
from service.problems import MEDIA_TYPE
from service.runtime import Service
from service.settings import Settings
from tests.service.faults import DEVICE_ERRORS
from tests.service.running import client_of, held, play, running, until
from tests.service.tiny_bundle import dark_square, picture_bytes, write_tiny_bundle
from tests.service.wire import PICTURE

pytestmark = pytest.mark.alone

HEADERS = {"content-type": "image/png"}


def _post(client: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/predict", content=PICTURE, headers=HEADERS))


def test_more_pictures_than_places_are_refused_at_once_and_places_come_back(tiny_bundle: Bundle) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            accepted = [_post(client) for _ in range(3)]
            await until(lambda: service.scheduler.batcher.depth >= 2)
            refused = await _post(client)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == MEDIA_TYPE
            assert refused.json()["type"] == "urn:cin:problem:queue-full"
        assert [r.status_code for r in await asyncio.gather(*accepted)] == [200] * 3
        assert (await _post(client)).status_code == 200

    play(scenario, tiny_bundle, queue_size=6)  # of which one caller has half


def test_the_deadline(tiny_bundle: Bundle) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            late = await _post(client)
            assert late.status_code == 504
            assert late.json()["type"] == "urn:cin:problem:deadline-exceeded"
            await until(lambda: service.scheduler.batcher.depth == 0)
        assert (await _post(client)).status_code == 200

    play(scenario, tiny_bundle, deadline_seconds=0.3)


def test_a_picture_that_does_not_come_in_time_is_a_timeout(tiny_bundle: Bundle) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield PICTURE[:10]
        await asyncio.sleep(20)

    async def scenario(client: httpx.AsyncClient, _: Service) -> None:
        response = await client.post("/predict", content=trickle(), headers=HEADERS)
        assert response.status_code == 408
        assert response.json()["type"] == "urn:cin:problem:request-timeout"

    play(scenario, tiny_bundle, deadline_seconds=0.2)


def test_a_picture_whose_client_left_never_runs(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    submitted: list[Any] = []
    leave = asyncio.Event()
    messages = iter([{"type": "http.request", "body": PICTURE, "more_body": False}])

    async def receive() -> Any:
        if message := next(messages, None):
            return message
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def scenario() -> None:
        headers = [(b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
        async with running(tiny_bundle) as app, client_of(app) as client:
            batcher, before = app.state.service.scheduler.batcher, await _batches(client)
            really_submit = batcher.submit
            monkeypatch.setattr(batcher, "submit", lambda frame: submitted.append(frame) or really_submit(frame))
            async with held(app.state.service):
                ahead = _post(client)  # taken by the batcher, which waits for the thread
                await until(lambda: len(submitted) == 1 and batcher.depth == 0)
                request = asyncio.ensure_future(app(scope, receive, send))
                await until(lambda: batcher.depth == 1)
                leave.set()
                await request
                await until(lambda: batcher.depth == 0)
            assert sent[0]["status"] == 499
            assert (await ahead).status_code == 200
            assert (await _post(client)).status_code == 200
            after = await _batches(client)
        assert np.subtract(after, before).tolist() == [2, 2], "two batches of one image each"

    asyncio.run(asyncio.wait_for(scenario(), 15))


async def _batches(client: httpx.AsyncClient) -> list[float]:
    """How many batches ran, and of how many images in all."""
    metrics = (await client.get("/metrics")).text
    return [float(value) for value in re.findall(r"^cin_batch_size_(?:count|sum) (.+)$", metrics, re.MULTILINE)]


def test_no_upload_waits_for_threads_that_others_hold(tiny_bundle: Bundle) -> None:
    """The pool that frameworks share among everything that blocks; a 2 MB upload used to wait for it."""
    large = picture_bytes(Image.effect_noise((1500, 1500), 90).convert("RGB"))
    assert len(large) > 2 * 2**20

    async def scenario(client: httpx.AsyncClient, _: Service) -> None:
        shared = anyio.to_thread.current_default_thread_limiter()
        holders = [object() for _ in range(int(shared.available_tokens))]
        for holder in holders:
            shared.acquire_on_behalf_of_nowait(holder)
        assert (await client.post("/predict", files={"image": large})).status_code == 200
        assert (await client.get("/healthz")).status_code == 200

    play(scenario, tiny_bundle)


def test_many_at_once_all_get_their_own_answer(tiny_bundle: Bundle) -> None:
    colours = [(10 * shade, 90, 160 - 5 * shade) for shade in range(20)]

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async def ask(colour: tuple[int, int, int]) -> Any:
            data = picture_bytes(dark_square(colour))
            return (await client.post("/predict", content=data, headers=HEADERS)).json()["probabilities"]

        alone = [await ask(colour) for colour in colours]
        async with held(service):
            waiting = [asyncio.create_task(ask(colour)) for colour in colours]
            await until(lambda: service.admission.slots_taken == len(colours))
        assert await asyncio.gather(*waiting) == [pytest.approx(answer, abs=1e-4) for answer in alone]

    play(scenario, tiny_bundle, max_batch=8)


def test_a_failing_runtime_latches_not_ready_and_ends_the_process(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def fail(*_: object) -> Any:
        raise RuntimeError(DEVICE_ERRORS[0])

    async def scenario(client: httpx.AsyncClient, _: Service) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(HostSession, "run", fail)
            assert (await _post(client)).status_code == 503
        assert told == ["ONNX Runtime failed"]
        assert (await _post(client)).status_code == 503
        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert readiness.json()["reason"] == "ONNX Runtime failed"
        assert (await client.get("/healthz")).status_code == 200
        assert "cin_ready 0.0" in (await client.get("/metrics")).text

    play(scenario, tiny_bundle, on_fatal=told.append)


def test_a_canary_that_turns_wrong_stops_all_answers(tiny_bundle: Bundle) -> None:
    told: list[str] = []

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        assert (await _post(client)).status_code == 200
        service.scheduler.engine.canary_difference = lambda: 0.2  # type: ignore[method-assign]
        await until(lambda: bool(told))
        assert "differ by 0.2" in told[0]
        assert (await _post(client)).status_code == 503
        readiness = (await client.get("/readyz")).json()
        assert (readiness["ready"], readiness["canary_max_difference"]) == (False, 0.2)
        assert "cin_canary_ok 0.0" in (await client.get("/metrics")).text

    play(scenario, tiny_bundle, on_fatal=told.append, canary_seconds=0.1)


def test_a_right_canary_takes_no_failure_back(tiny_bundle: Bundle) -> None:
    told: list[str] = []

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        right, asked = service.scheduler.engine.canary_difference, 0

        def wrong_once() -> float:
            nonlocal asked
            asked += 1
            return 0.2 if asked == 1 else right()

        service.scheduler.engine.canary_difference = wrong_once  # type: ignore[method-assign]
        await until(lambda: bool(told))
        await asyncio.sleep(0.2)
        assert asked == 1, "it goes on watching what it gave up"
        await service.health.check_canary()  # as one that was under way when something else failed
        assert "cin_canary_ok 0.0" in (await client.get("/metrics")).text

    play(scenario, tiny_bundle, on_fatal=told.append, canary_seconds=0.02)


def test_a_canary_that_gets_no_answer_counts_as_wrong(tiny_bundle: Bundle) -> None:
    told: list[str] = []

    async def scenario(_: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            await until(lambda: bool(told))

    play(scenario, tiny_bundle, on_fatal=told.append, canary_seconds=0.05, deadline_seconds=0.2)
    assert "no answer in time" in told[0]


def test_a_picture_under_way_when_trust_is_lost_gets_no_answer(tiny_bundle: Bundle) -> None:
    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        async with held(service):
            under_way, waiting = _post(client), _post(client)
            await until(lambda: service.scheduler.batcher.depth == 1)
            service.health.fail("the canary tripped")
        assert [(await r).status_code for r in (under_way, waiting)] == [503, 503]

    play(scenario, tiny_bundle)


@pytest.mark.parametrize("settings", [{"require_gpu": True}, {"operating_point": "perfect"}])
def test_what_cannot_be_served_does_not_start(tiny_bundle: Bundle, settings: dict[str, Any]) -> None:
    async def scenario(*_: object) -> None:
        raise AssertionError("it started")

    with pytest.raises((RuntimeError, ValueError), match=r"GPU is required|no operating point 'perfect'"):
        play(scenario, tiny_bundle, **settings)


def test_a_wrong_canary_does_not_start(tmp_path: Any) -> None:
    async def scenario(*_: object) -> None:
        raise AssertionError("it started")

    with pytest.raises(RuntimeError, match="canary image's probabilities differ"):
        play(scenario, write_tiny_bundle(tmp_path / "wrong", wrong_canary=True))


def test_an_app_that_was_not_started_is_not_ready(tiny_bundle: Bundle) -> None:
    async def ask() -> list[int]:
        async with client_of(create_app(Settings(bundle=tiny_bundle.folder))) as client:
            return [(await client.get(path)).status_code for path in ("/readyz", "/model", "/healthz")]

    assert asyncio.run(ask()) == [503, 503, 200]
