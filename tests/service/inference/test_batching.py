"""The queue: greedy batches, and no image fails with another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.inference.answers import Answer
from service.inference.batching import Batcher, Stopped, batch_sizes
from service.inference.cpu_pool import CpuPool

POISON = 66


class Network:
    """Answers each frame with its first value, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.multithreaded: list[bool] = []
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def run(self, frames: NDArray[np.uint8], *, multithreaded: bool) -> list[Answer]:
        self.multithreaded.append(multithreaded)
        values = [int(frame.flat[0]) for frame in frames]
        self.batches.append(values)
        self.entered.set()
        assert self.go.wait(10)
        if POISON in values:
            raise ValueError("poisoned")
        return [_answer(value) for value in values]

    def hold(self) -> None:
        self.entered.clear()
        self.go.clear()


def _answer(value: int) -> Answer:
    nothing = np.zeros(0, np.float32)
    return Answer(np.array([value], np.float32), nothing, np.zeros((0, 0), np.uint8), nothing, 0.0, None, None)


def _frame(value: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


async def _entered(network: Network) -> None:
    await asyncio.to_thread(network.entered.wait, 10)


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_batch_sizes_are_powers_of_two_and_the_maximum() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(8) == [1, 2, 4, 8]
    assert batch_sizes(6) == [1, 2, 4, 6]


def test_what_waits_becomes_one_padded_batch_in_order() -> None:
    async def work() -> None:
        network = Network()
        sizes: list[int] = []
        batcher = Batcher(network.run, max_batch=4, on_batch=sizes.append)
        batcher.start()
        network.hold()
        first = asyncio.create_task(batcher.submit(_frame(1)))
        await _entered(network)
        rest = [asyncio.create_task(batcher.submit(_frame(value))) for value in (2, 3, 4)]
        await asyncio.sleep(0)
        assert batcher.depth == 3
        network.go.set()
        results = await asyncio.gather(first, *rest)
        assert network.batches == [[1], [2, 3, 4, 4]]
        assert sizes == [1, 3]
        assert [int(r.probabilities[0]) for r in results] == [1, 2, 3, 4]
        assert all(r.queue_seconds >= 0 and r.inference_seconds > 0 for r in results)
        await batcher.stop()

    _run(work())


def test_workers_run_batches_at_once() -> None:
    async def work() -> None:
        network = Network()
        batcher = Batcher(network.run, max_batch=1, workers=2)
        batcher.start()
        network.hold()
        tasks = [asyncio.create_task(batcher.submit(_frame(value))) for value in (1, 2, 3)]
        while len(network.batches) < 2:
            await asyncio.sleep(0.001)
        assert batcher.depth == 1, "the third waits for a worker"
        assert batcher.alive
        network.go.set()
        results = await asyncio.gather(*tasks)
        assert [int(r.probabilities[0]) for r in results] == [1, 2, 3]
        assert sorted(network.batches) == [[1], [2], [3]]
        await batcher.stop()
        assert not batcher.alive

    _run(work())


def test_on_a_cpu_batches_run_in_the_pool() -> None:
    async def work() -> None:
        network, pool, go = Network(), CpuPool(2), threading.Event()
        began = threading.Semaphore(0)

        def decode(_: bool) -> bool:
            began.release()
            return go.wait(10)

        batcher = Batcher(network.run, max_batch=1, workers=3, cpu_pool=pool)
        batcher.start()
        decoding: list[asyncio.Task[bool]] = []
        for value in (1, 2):
            await batcher.submit(_frame(value))
            decoding.append(asyncio.create_task(pool.run(decode)))
            assert await asyncio.to_thread(began.acquire, timeout=10)
        assert network.multithreaded == [True, False], "alone it may use both threads"
        waiting = asyncio.create_task(batcher.submit(_frame(3)))
        await asyncio.sleep(0.02)
        assert len(network.batches) == 2, "no thread is free"
        go.set()
        await asyncio.gather(waiting, *decoding)
        await batcher.stop()
        pool.close()

    _run(work())


def test_a_caller_that_gave_up_leaves_the_queue_and_never_runs() -> None:
    async def work() -> None:
        network = Network()
        batcher = Batcher(network.run, max_batch=4)
        batcher.start()
        network.hold()
        first = asyncio.create_task(batcher.submit(_frame(1)))
        await _entered(network)
        gone, stays = (asyncio.create_task(batcher.submit(_frame(value))) for value in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert batcher.depth == 1
        network.go.set()
        await asyncio.gather(first, stays)
        assert network.batches == [[1], [3]]
        await batcher.stop()

    _run(work())


def test_a_caller_that_gives_up_as_the_batch_forms_never_runs() -> None:
    async def work() -> None:
        network = Network()
        batcher = Batcher(network.run, max_batch=4)
        batcher.start()
        await asyncio.sleep(0)
        gone = asyncio.create_task(batcher.submit(_frame(1)))
        await asyncio.sleep(0)  # the collector is about to wake up
        gone.cancel()
        await asyncio.wait([gone])
        await batcher.submit(_frame(2))
        assert network.batches == [[2]]
        await batcher.stop()

    _run(work())


def test_one_poisoned_picture_fails_alone() -> None:
    async def work() -> None:
        network = Network()
        failures: list[Exception] = []
        batcher = Batcher(network.run, max_batch=4, on_failure=failures.append)
        batcher.start()
        network.hold()
        first = asyncio.create_task(batcher.submit(_frame(1)))
        await _entered(network)
        rest = [asyncio.create_task(batcher.submit(_frame(value))) for value in (2, POISON, 4)]
        await asyncio.sleep(0)
        network.go.set()
        results = await asyncio.gather(first, *rest, return_exceptions=True)
        assert isinstance(results[2], ValueError)
        assert [int(r.probabilities[0]) for r in results if not isinstance(r, BaseException)] == [1, 2, 4]
        assert network.batches == [[1], [2, POISON, 4, 4], [2], [POISON], [4]]
        assert len(failures) == 1
        assert int((await batcher.submit(_frame(7))).probabilities[0]) == 7
        await batcher.stop()

    _run(work())


def test_calls_share_the_thread_that_owns_the_session() -> None:
    async def work() -> None:
        threads: list[str] = []

        def run(frames: NDArray[np.uint8], *, multithreaded: bool) -> list[Answer]:  # noqa: ARG001
            threads.append(threading.current_thread().name)
            return [_answer(0) for _ in frames]

        batcher = Batcher(run, max_batch=1)
        batcher.start()
        await batcher.submit(_frame(1))
        threads.append(await batcher.call(lambda: threading.current_thread().name))
        assert len(set(threads)) == 1
        await batcher.stop()

    _run(work())


def test_stopping_tells_everyone_who_still_waits() -> None:
    async def work() -> None:
        network = Network()
        batcher = Batcher(network.run, max_batch=1)
        assert not batcher.alive
        batcher.start()
        assert batcher.alive
        network.hold()
        tasks = [asyncio.create_task(batcher.submit(_frame(value))) for value in (1, 2)]
        await _entered(network)
        await batcher.stop()
        assert not batcher.alive
        for task in tasks:
            with pytest.raises(Stopped):
                await task
        with pytest.raises(Stopped):
            await batcher.submit(_frame(3))
        network.go.set()

    _run(work())
