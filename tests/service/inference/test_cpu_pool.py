"""The threads that compute: the network's jobs first, and none lost to who gave up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from service.inference.cpu_pool import CALM_SECONDS, Cores


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


class Held:
    """Jobs that run until they are let go, in the order in which they began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.go = threading.Event()

    def job(self, name: str) -> Any:
        def work(spread: bool) -> tuple[str, bool]:
            self.began.append(name)
            assert self.go.wait(10)
            return name, spread

        return work


async def _until(done: Any) -> None:
    while not done():
        await asyncio.sleep(0.001)


def test_the_network_goes_first_and_everybody_else_in_order() -> None:
    async def work() -> None:
        cores, held = Cores(1), Held()
        names = ("now", "decode 1", "decode 2", "network 1", "network 2")
        running = [asyncio.create_task(cores.run(held.job("now")))]
        await _until(lambda: held.began)
        running += [asyncio.create_task(cores.run(held.job(n), network=n.startswith("net"))) for n in names[1:]]
        await asyncio.sleep(0)
        held.go.set()
        assert [name for name, _ in await asyncio.gather(*running)] == list(names)
        assert held.began == ["now", "network 1", "network 2", "decode 1", "decode 2"]
        cores.close()

    _run(work())


def test_a_job_may_spread_while_another_core_is_idle() -> None:
    async def work() -> None:
        cores, held = Cores(2), Held()
        first = asyncio.create_task(cores.run(held.job("first")))
        await _until(lambda: held.began)
        second = asyncio.create_task(cores.run(held.job("second")))
        await _until(lambda: len(held.began) == 2)
        held.go.set()
        assert await asyncio.gather(first, second) == [("first", True), ("second", False)]
        cores.close()

    _run(work())


def test_a_job_spreads_only_when_for_some_time_none_had_to_wait() -> None:
    async def work() -> None:
        now = 100.0
        cores, held = Cores(2, clock=lambda: now), Held()
        held.go.set()
        assert await cores.run(held.job("calm")) == ("calm", True)
        held.go.clear()
        running = [asyncio.create_task(cores.run(held.job(name))) for name in ("a", "b", "waits")]
        await _until(lambda: len(held.began) == 3)
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(*running)
        for later, spreads in ((0.0, False), (0.9 * CALM_SECONDS, False), (CALM_SECONDS, True)):
            now = 100.0 + later
            await _until(lambda: cores._num_idle == 2)
            assert await cores.run(held.job("later")) == ("later", spreads)
        cores.close()

    _run(work())


def test_who_gives_up_is_never_begun() -> None:
    async def work() -> None:
        cores, held = Cores(1), Held()
        first, gone, stays = (asyncio.create_task(cores.run(held.job(name))) for name in ("first", "gone", "stays"))
        await _until(lambda: held.began)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        held.go.set()
        await asyncio.gather(first, stays)
        assert held.began == ["first", "stays"]
        cores.close()

    _run(work())


def test_a_failure_is_the_callers_and_the_thread_goes_on() -> None:
    async def work() -> None:
        cores = Cores(1)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await cores.run(lambda _: 1 // 0)
        assert await cores.run(lambda _: 5) == 5
        cores.close()

    _run(work())


def test_closing_begins_nothing_more_and_ends_the_threads() -> None:
    async def work() -> None:
        cores, held = Cores(2), Held()
        jobs = [asyncio.create_task(cores.run(held.job(str(i)))) for i in range(3)]
        await _until(lambda: len(held.began) == 2)
        cores.close(seconds=0.01)
        results = await asyncio.gather(*jobs[2:], return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError]
        held.go.set()
        await asyncio.gather(*jobs[:2])
        await _until(lambda: not any(thread.is_alive() for thread in cores._threads))

    _run(work())
