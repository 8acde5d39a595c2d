"""The queue in front of the engine: a free worker runs all waiting frames as the next batch.

No batch waits to be filled. Batches are padded to sizes that were warmed up. Frames of cancelled requests (client gone,
deadline passed) do not run. A batch that fails is repeated once, one image at a time, unless the device failed: so one
bad image does not fail the others, and a batch too large for the memory still gets its answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.inference.answers import Answer, DeviceError
from service.inference.cpu_pool import CpuPool

log = logging.getLogger(__name__)

T = TypeVar("T")
Frame = NDArray[np.uint8]  # [F, F, 3]


class Run(Protocol):
    """Answers a batch of frames; on a CPU with one thread, unless ``multithreaded``."""

    def __call__(self, frames: NDArray[np.uint8], *, multithreaded: bool) -> list[Answer]: ...


class Stopped(Exception):  # noqa: N818
    """The queue was stopped before the image ran."""


@dataclass(eq=False, repr=False)
class _Item:
    frame: Frame
    result: asyncio.Future[Answer]
    enqueued: float = field(default_factory=time.perf_counter)


def batch_sizes(max_batch: int) -> list[int]:
    """The sizes batches are padded to: powers of two, and ``max_batch`` itself."""
    return sorted({2**i for i in range(max_batch.bit_length()) if 2**i < max_batch} | {max_batch})


class Batcher:
    """Owns the queue and its workers; lives on one event loop."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        workers: int = 1,
        cpu_pool: CpuPool | None = None,
        on_batch: Callable[[int], object] = lambda size: None,
        on_failure: Callable[[Exception], object] = lambda error: None,
    ) -> None:
        """``workers`` batches run at once, on a CPU in the threads of ``cpu_pool``.

        ``on_batch`` is called with the size of each batch before it runs, ``on_failure`` with the error of each image.
        """
        self._run, self._cpu_pool, self._on_batch, self._on_failure = run, cpu_pool, on_batch, on_failure
        self._sizes = batch_sizes(max_batch)
        self._waiting: deque[_Item] = deque()
        self._under_way: list[list[_Item]] = [[] for _ in range(workers)]
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="inference") if cpu_pool is None else None
        self._collectors: list[asyncio.Task[None]] = []
        self._stopped = False
        self.latest_began = 0.0  # when (by ``perf_counter``) the latest answered batch began

    @property
    def depth(self) -> int:
        """Frames waiting now."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether all workers are running."""
        return bool(self._collectors) and not any(collector.done() for collector in self._collectors)

    def start(self) -> None:
        """Start the workers; needs a running event loop."""
        self._collectors = [asyncio.create_task(self._collect(batch)) for batch in self._under_way]

    async def stop(self) -> None:
        """Stop at once; callers that wait get :class:`Stopped`."""
        self._stopped = True
        for collector in self._collectors:
            collector.cancel()
            with suppress(asyncio.CancelledError):
                await collector
        for item in [*chain.from_iterable(self._under_way), *self._waiting]:
            if not item.result.done():
                item.result.set_exception(Stopped())
        # Does not wait for the threads: a hanging device must not keep the process from ending.
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def submit(self, frame: Frame) -> Answer:
        """The answer for one frame ``[F, F, 3]``, with its waiting and running time. Admission limits how many wait.

        Raises :class:`Stopped`, or what the engine raised. Cancelling the caller removes the frame from the queue.
        """
        if self._stopped:
            raise Stopped
        item = _Item(frame, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self._arrived.set()
        try:
            return await item.result
        except asyncio.CancelledError:
            with suppress(ValueError):  # it may be running already
                self._waiting.remove(item)
            raise

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on a thread that runs batches, between two of them."""
        return await self._on_thread(lambda _: function())

    async def _on_thread(self, function: Callable[[bool], T]) -> T:
        """Run ``function`` on a thread for batches; its argument says whether it may be multithreaded."""
        if self._cpu_pool is not None:
            return await self._cpu_pool.run(function, network=True)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, True)

    async def _collect(self, batch: list[_Item]) -> None:
        """A worker: fill ``batch``, run it, empty it, and repeat."""
        while True:
            await self._arrived.wait()
            # A cancelled caller has cancelled its future, but its frame may still be in the queue.
            while self._waiting and len(batch) < self._sizes[-1]:
                item = self._waiting.popleft()
                if not item.result.done():
                    batch.append(item)
            if batch:
                await self._answer(batch)
                batch.clear()
            if not self._waiting:
                self._arrived.clear()

    async def _answer(self, batch: Sequence[_Item]) -> None:
        frames = [item.frame for item in batch]
        try:
            began, answers = await self._on_thread(partial(self._run_padded, frames))
        except Exception as error:
            await self._fail(batch, error)
            return
        self.latest_began = began
        seconds = time.perf_counter() - began
        for item, answer in zip(batch, answers, strict=True):
            if not item.result.done():
                waited = began - item.enqueued
                item.result.set_result(replace(answer, queue_seconds=waited, inference_seconds=seconds))

    async def _fail(self, batch: Sequence[_Item], error: Exception) -> None:
        if len(batch) > 1 and not isinstance(error, DeviceError):
            log.warning("a batch of %d failed (%s); running its images singly", len(batch), type(error).__name__)
            for item in batch:
                if not item.result.done():
                    await self._answer([item])
            return
        for item in batch:
            self._on_failure(error)
            if not item.result.done():
                item.result.set_exception(error)

    def _run_padded(self, frames: list[Frame], multithreaded: bool) -> tuple[float, list[Answer]]:
        """When the batch began, and its answers."""
        began = time.perf_counter()
        size = next(size for size in self._sizes if size >= len(frames))
        self._on_batch(len(frames))
        padding = [frames[-1]] * (size - len(frames))
        return began, self._run(np.stack([*frames, *padding]), multithreaded=multithreaded)[: len(frames)]
