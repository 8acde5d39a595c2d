"""Schedules all that computes: inference in batches, decoding and drawing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from service.bundle import Bundle
from service.inference.batching import Batcher, batch_sizes
from service.inference.cpu_pool import CpuPool
from service.inference.engine import Engine
from service.inference.memory import give_back_freed

T = TypeVar("T")


class Scheduler:
    """Owns the queue of inference and the CPU pool; lives on one event loop.

    On a CPU the network runs in the pool that also draws overlays and waits for decoders: more jobs than cores would
    slow all of them down.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        threads: int,
        max_batch: int,
        max_costly: int | None = None,
        on_batch: Callable[[int], object],
        on_failure: Callable[[Exception], object],
    ) -> None:
        """``threads`` is the size of the CPU pool; up to ``max_costly`` costly images wait, one of each client.

        ``on_batch`` and ``on_failure`` are the :class:`Batcher`'s.
        """
        on_cpu = engine.provider == "cpu"
        self.engine, self.max_batch, self.threads = engine, max_batch, threads
        self.cpu_pool = CpuPool(threads)
        self._costly_pool = CpuPool(1, max_waiting=max_costly)
        self.batcher = Batcher(
            engine.run,
            max_batch=max_batch,
            # One more than can run at once, so that no core waits for the event loop.
            workers=engine.workers + 1 if on_cpu else 1,
            cpu_pool=self.cpu_pool if on_cpu else None,
            on_batch=on_batch,
            on_failure=on_failure,
        )

    @property
    def bundle(self) -> Bundle:
        """The model."""
        return self.engine.bundle

    async def warm_up(self) -> None:
        """Run every batch size once, and on a GPU choose the fastest sessions."""
        sizes = batch_sizes(self.max_batch)
        await self.batcher.call(lambda: self.engine.warm_up(sizes))
        give_back_freed()

    async def compute(self, function: Callable[[], T], client: str) -> T:
        """Run ``function``, which draws or waits for a decoder, in the CPU pool in the client's turn."""
        return await self.cpu_pool.run(lambda _: function(), client=client)

    async def compute_costly(self, function: Callable[[], T], client: str) -> T:
        """Run ``function``, which takes seconds, in the client's turn and one at a time.

        Raises :class:`Busy` at once when too many wait.
        """
        return await self._costly_pool.run(lambda _: function(), client=client)

    def close(self) -> None:
        """Cancel the jobs that wait, and wait a few seconds for those that run."""
        self._costly_pool.close()
        self.cpu_pool.close()
