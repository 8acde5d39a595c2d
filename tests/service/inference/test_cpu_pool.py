"""The threads that compute: the network's jobs first, and none lost to who gave up."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from service.admission.admission import Busy
from service.inference.cpu_pool import CALM_SECONDS, CpuPool


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


class Held:
    """Jobs that run until they are let go, in the order in which they began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.go = threading.Event()

    def job(self, name: str) -> Any:
        def work(multithreaded: bool) -> tuple[str, bool]:
            self.began.append(name)
            assert self.go.wait(10)
            return name, multithreaded

        return work


def _keep(upload: object, _: bool) -> object:
    return upload


async def _until(done: Any) -> None:
    while not done():
        await asyncio.sleep(0.001)


def test_the_network_goes_first_and_everybody_else_in_order() -> None:
    async def work() -> None:
        pool, held = CpuPool(1), Held()
        names = ("now", "decode 1", "decode 2", "network 1", "network 2")
        running = [asyncio.create_task(pool.run(held.job("now")))]
        await _until(lambda: held.began)
        running += [asyncio.create_task(pool.run(held.job(n), network=n.startswith("net"))) for n in names[1:]]
        await asyncio.sleep(0)
        held.go.set()
        assert [name for name, _ in await asyncio.gather(*running)] == list(names)
        assert held.began == ["now", "network 1", "network 2", "decode 1", "decode 2"]
        pool.close()

    _run(work())


def test_clients_take_turns() -> None:
    async def work() -> None:
        pool, held = CpuPool(1, clock=lambda: 0.0), Held()
        names = ("now", "a 1", "a 2", "a 3", "b 1", "c 1", "c 2")
        running = [asyncio.create_task(pool.run(held.job("now"), client="a"))]
        await _until(lambda: held.began)
        running += [asyncio.create_task(pool.run(held.job(name), client=name[0])) for name in names[1:]]
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(*running)
        assert held.began == ["now", "a 1", "b 1", "c 1", "a 2", "c 2", "a 3"]
        pool.close()

    _run(work())


def test_a_client_with_long_jobs_waits_until_others_had_as_much_time() -> None:
    async def work() -> None:
        now, order, go = 0.0, [], threading.Event()
        pool = CpuPool(1, clock=lambda: now)

        def job(name: str, seconds: float) -> Any:
            def take(_: bool) -> None:
                nonlocal now
                assert go.wait(10)
                order.append(name)
                now += seconds

            return take

        first = asyncio.create_task(pool.run(job("long", 1.0), client="long"))
        await asyncio.sleep(0.05)
        jobs = [("long", 1.0)] * 2 + [("short", 0.25)] * 6
        running = [asyncio.create_task(pool.run(job(*each), client=each[0])) for each in jobs]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, *running)
        assert order == ["long", *["short"] * 4, "long", *["short"] * 2, "long"]
        pool.close()

    _run(work())


def test_only_so_many_wait_and_one_of_each_client() -> None:
    async def work() -> None:
        pool, held = CpuPool(1, max_waiting=2), Held()
        jobs = [asyncio.create_task(pool.run(held.job("runs"), client="a"))]
        await _until(lambda: held.began)
        jobs.append(asyncio.create_task(pool.run(held.job("a"), client="a")))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await pool.run(held.job("a again"), client="a")
        jobs.append(asyncio.create_task(pool.run(held.job("b"), client="b")))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await pool.run(held.job("c"), client="c")
        jobs[2].cancel()
        await asyncio.gather(jobs.pop(2), return_exceptions=True)
        jobs.append(asyncio.create_task(pool.run(held.job("c"), client="c")))
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(*jobs)
        assert sorted(held.began) == ["a", "c", "runs"]
        pool.close()

    _run(work())


def test_a_job_that_is_given_up_releases_what_it_holds_at_once() -> None:
    class Upload:
        pass

    async def work() -> None:
        pool, held, upload = CpuPool(1), Held(), Upload()
        first = asyncio.create_task(pool.run(held.job("runs")))
        await _until(lambda: held.began)
        gone = asyncio.create_task(pool.run(partial(_keep, upload), client="gone"))
        await asyncio.sleep(0)
        is_alive = weakref.ref(upload)
        del upload
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        del gone
        await asyncio.sleep(0)  # the event loop held its exception
        gc.collect()
        assert is_alive() is None
        held.go.set()
        await first
        pool.close()

    _run(work())


def test_a_job_may_be_multithreaded_while_another_cpu_is_idle() -> None:
    async def work() -> None:
        pool, held = CpuPool(2), Held()
        first = asyncio.create_task(pool.run(held.job("first")))
        await _until(lambda: held.began)
        second = asyncio.create_task(pool.run(held.job("second")))
        await _until(lambda: len(held.began) == 2)
        held.go.set()
        assert await first == ("first", True)
        assert await second == ("second", False)
        pool.close()

    _run(work())


def test_a_job_is_multithreaded_only_after_a_time_without_waiting_jobs() -> None:
    async def work() -> None:
        now = 100.0
        pool, held = CpuPool(2, clock=lambda: now), Held()
        held.go.set()
        assert await pool.run(held.job("calm")) == ("calm", True)
        held.go.clear()
        running = [asyncio.create_task(pool.run(held.job(name))) for name in ("a", "b", "waits")]
        await _until(lambda: len(held.began) == 3)
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.gather(*running)
        for later, multithreaded in ((0.0, False), (0.9 * CALM_SECONDS, False), (CALM_SECONDS, True)):
            now = 100.0 + later
            await asyncio.sleep(0.05)  # both threads become idle again
            assert await pool.run(held.job("later")) == ("later", multithreaded)
        pool.close()

    _run(work())


def test_who_gives_up_is_never_begun() -> None:
    async def work() -> None:
        pool, held = CpuPool(1), Held()
        first, gone, stays = (asyncio.create_task(pool.run(held.job(name))) for name in ("first", "gone", "stays"))
        await _until(lambda: held.began)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        held.go.set()
        await asyncio.gather(first, stays)
        assert held.began == ["first", "stays"]
        pool.close()

    _run(work())


def test_a_failure_leaves_no_cycle_of_references() -> None:
    class Upload:
        pass

    def fail(upload: Upload, _: bool) -> None:
        raise ValueError(upload)

    async def work() -> None:
        pool, upload = CpuPool(1), Upload()
        is_alive = weakref.ref(upload)
        gc.disable()
        try:
            with suppress(ValueError):
                await pool.run(partial(fail, upload))
            del upload
            await asyncio.sleep(0.01)
            assert is_alive() is None
        finally:
            gc.enable()
        pool.close()

    _run(work())


def test_a_failure_is_the_callers_and_the_thread_goes_on() -> None:
    async def work() -> None:
        pool = CpuPool(1)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await pool.run(lambda _: 1 // 0)
        assert await pool.run(lambda _: 5) == 5
        pool.close()

    _run(work())


def test_closing_begins_nothing_more_and_ends_the_threads() -> None:
    async def work() -> None:
        before = threading.active_count()
        pool, held = CpuPool(2), Held()
        jobs = [asyncio.create_task(pool.run(held.job(str(i)))) for i in range(3)]
        await _until(lambda: len(held.began) == 2)
        pool.close(seconds=0.01)
        results = await asyncio.gather(*jobs[2:], return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError]
        held.go.set()
        await asyncio.gather(*jobs[:2])
        await _until(lambda: threading.active_count() == before)

    _run(work())
