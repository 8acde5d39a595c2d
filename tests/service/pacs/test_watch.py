"""The loop's rules: what is tried again and when, what ends it, what it forgets."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from service.imaging import UndecodablePicture
from service.inference.answers import DeviceError
from service.pacs import watch
from service.pacs.client import Instance, PacsAway, PacsError, PacsRefused
from service.pacs.metrics import WatchMetrics
from service.pacs.watch import Selection, Watch
from tests.service.pacs.memory_pacs import EchoResults, Instead, MemoryPacs
from tests.service.running import until

UIDS = [f"2.25.7{number:04}" for number in range(250)]
# Seconds until an image is tried again, the first time at once.
PAUSES = (1, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600)
Scenario = Callable[[MemoryPacs, Watch], Awaitable[Any]]


def play(scenario: Scenario, uids: list[str] = UIDS[:5], **options: Any) -> MemoryPacs:
    """Play a scenario with a PACS of so many images; a second of the loop is 10 ms."""
    pacs = MemoryPacs(uids)
    results = options.pop("results", None) or EchoResults()

    async def played() -> None:
        async with asyncio.timeout(20), pacs.client() as client:
            chosen = {"every_seconds": 0.01, "in_flight": 3, **options}
            metrics = WatchMetrics(CollectorRegistry())
            await scenario(pacs, Watch(client, results, Selection(), metrics, **chosen))

    asyncio.run(played())
    return pacs


class FailingResults(EchoResults):
    """Fails for one image, so many times."""

    def __init__(self, error: Exception, uid: str = UIDS[2], times: int = 10**9) -> None:
        super().__init__()
        self.error, self.uid, self.left = error, uid, times

    async def make(self, instance: Instance, data: bytes) -> list[bytes]:
        if instance.uid == self.uid and self.left:
            self.left -= 1
            raise self.error
        return await super().make(instance, data)


class EndlessResults(EchoResults):
    """Only the first image is answered."""

    async def make(self, instance: Instance, data: bytes) -> list[bytes]:
        if self.made:
            await asyncio.Event().wait()
        return await super().make(instance, data)


def made_by(watching: Watch) -> list[str]:
    """The images that results were made for."""
    assert isinstance(watching.results, EchoResults)
    return watching.results.made


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("service")]


def refusing(status: int, when: Callable[[str, str], bool]) -> Instead:
    return lambda method, path: httpx.Response(status) if when(method, path) else None


async def complete(pacs: MemoryPacs, watching: Watch) -> None:
    assert await watching.once()
    assert pacs.stored == {f"{uid}.1": 1 for uid in pacs.images}


def test_every_page_is_read() -> None:
    pacs = play(complete, UIDS)
    assert sum(asked == "GET /instances" for asked in pacs.asked) == 4


def test_an_empty_pacs_is_complete() -> None:
    play(complete, [])


def test_what_has_its_results_is_asked_about_once() -> None:
    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        pacs.stored = {f"{uid}.1": 1 for uid in UIDS[:5]}
        for _ in range(3):
            assert await watching.once()
        assert sum(asked.startswith("GET /studies") for asked in pacs.asked) == 5
        assert made_by(watching) == []
        assert watching.counts["present"] == 5

    play(scenario)


def test_images_that_come_later_get_their_results() -> None:
    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        running = asyncio.create_task(watching.run())
        await until(lambda: len(pacs.stored) == 5)
        pacs.images[UIDS[9]] = pacs.images[UIDS[0]]
        await until(lambda: len(pacs.stored) == 6)
        watching.stopping.set()
        assert await running

    play(scenario)


@pytest.mark.parametrize("error", [UndecodablePicture("no image"), PacsError("no answer"), ValueError("Zaphod Quux")])
def test_an_image_that_fails_is_left_out_and_tried_later(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        assert not await watching.once()
        assert len(pacs.stored) == 4
        running = asyncio.create_task(watching.run())
        await until(lambda: len(pacs.stored) == 5)
        watching.stopping.set()
        await running
        assert watching.counts["failed"] == 3
        assert await Watch.once(watching) is False  # it is stopping

    play(scenario, results=FailingResults(error, times=3))
    assert sum("next try" in line for line in said(caplog)) == 3
    assert "Zaphod" not in caplog.text


def test_the_pause_grows_up_to_an_hour(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    monkeypatch.setattr(watch, "monotonic", lambda: now)

    async def scenario(_: MemoryPacs, watching: Watch) -> None:
        nonlocal now
        for pause in PAUSES:
            now += pause - 1
            await watching.once()  # too early
            now += 1
            await watching.once()

    play(scenario, UIDS[2:3], results=FailingResults(ValueError()), every_seconds=10)
    pauses = [line.rpartition("after ")[2] for line in said(caplog) if "next try" in line]
    assert pauses == [f"{pause} s" for pause in (*PAUSES[1:], 3600)]


@pytest.mark.parametrize("error", [DeviceError("the device failed"), PacsRefused("no access")])
def test_what_would_fail_for_every_image_ends_it(error: Exception) -> None:
    async def scenario(_: MemoryPacs, watching: Watch) -> None:
        with pytest.raises(type(error)):
            await watching.run()

    play(scenario, results=FailingResults(error))


def test_a_pacs_that_is_away_is_waited_for_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        pacs.instead = refusing(503, lambda method, path: True)
        with pytest.raises(PacsAway):
            await watching.once()
        running = asyncio.create_task(watching.run())
        await until(lambda: len(pacs.asked) >= 4)
        pacs.instead = lambda method, path: None
        await until(lambda: len(pacs.stored) == 5)
        watching.stopping.set()
        assert await running

    play(scenario)
    assert sum("is not available (503)" in line for line in said(caplog)) == 1
    assert said(caplog).count("the PACS answers again") == 1


def test_a_pacs_that_is_back_is_told_before_the_pass_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        pacs.instead = refusing(503, lambda method, path: True)
        running = asyncio.create_task(watching.run())
        await until(lambda: len(pacs.asked) >= 2)
        pacs.instead = lambda method, path: None
        await until(lambda: len(made_by(watching)) == 1)
        await until(lambda: "the PACS answers again" in said(caplog))
        assert not running.done()
        running.cancel()

    play(scenario, results=EndlessResults(), in_flight=1)


@pytest.mark.parametrize("status", [500, 503])
def test_one_image_that_the_pacs_cannot_give_holds_up_no_other(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "shuffle", lambda due: None)

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        pacs.instead = refusing(status, lambda method, path: path.endswith(f"instances/{UIDS[2]}"))
        running = asyncio.create_task(watching.run())
        await until(lambda: len(pacs.stored) == 4)
        pacs.instead = lambda method, path: None
        await until(lambda: len(pacs.stored) == 5)
        watching.stopping.set()
        assert await running

    play(scenario, in_flight=1)


def test_a_pacs_that_refuses_what_it_has_is_no_failure() -> None:
    """As when another watcher was faster."""

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        def faster(method: str, _path: str) -> httpx.Response | None:
            if method != "POST":
                return None
            pacs.stored = {f"{uid}.1": 1 for uid in pacs.images}
            return httpx.Response(409)

        pacs.instead = faster
        assert await watching.once()
        assert watching.counts["present"] == 5

    play(scenario)


def test_results_that_are_not_taken_are_a_failure() -> None:
    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        pacs.instead = refusing(409, lambda method, path: method == "POST")
        assert not await watching.once()
        assert watching.counts["failed"] == 5

    play(scenario)


def test_other_objects_are_counted_by_kind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        pacs.images = dict.fromkeys(UIDS[:5], "1.2.840.10008.5.1.4.1.1.88.33")
        for _ in range(2):
            assert await watching.once()
        assert watching.counts["skipped"] == 5
        assert made_by(watching) == []

    play(scenario)
    assert said(caplog) == ["left out: other objects: 5"]


def test_too_many_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_INSTANCES", 150)

    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        with pytest.raises(PacsError, match="later --since"):
            await watching.once()
        assert pacs.stored == {}

    play(scenario, UIDS)


def test_it_stops_between_two_pages() -> None:
    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        watching.stopping.set()
        assert not await watching.once()
        assert pacs.asked == ["GET /instances"]

    play(scenario, UIDS)


def test_cancelled_it_stops_at_once() -> None:
    async def scenario(pacs: MemoryPacs, watching: Watch) -> None:
        class Hanging(EchoResults):
            async def make(self, instance: Instance, data: bytes) -> list[bytes]:
                await asyncio.sleep(3600)
                return await super().make(instance, data)

        watching.results = Hanging()
        running = asyncio.create_task(watching.run())
        await until(lambda: len(pacs.asked) > 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    play(scenario)
