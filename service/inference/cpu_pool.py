"""The threads that compute on a CPU, one for each core: with more of them, every job takes longer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from itertools import chain
from threading import Condition, Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

# A job may be multithreaded when no job had to wait for this long. Under load, the threads that speed one job up a
# little are missed by the jobs behind it.
CALM_SECONDS = 1.0


class _Job(NamedTuple):
    result: Future[Any]
    function: Callable[[bool], Any]


class CpuPool:
    """``num`` threads that take one job after the other without a detour through the event loop.

    The network's jobs come first: a decoded picture is closer to its answer than one that waits to be decoded. The
    others are taken from each client in turn, so that a client with many jobs delays another's by one of them.
    """

    def __init__(self, num: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy_until = -CALM_SECONDS + clock()
        self._network: deque[_Job] = deque()
        self._others: OrderedDict[str, deque[_Job]] = OrderedDict()  # by client, the next one first
        self._changed = Condition()
        self._num_idle = num
        self._closed = False
        self._threads = [Thread(target=self._work, name=f"cpu-{i}", daemon=True) for i in range(num)]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[[bool], T], *, network: bool = False, client: str = "") -> T:
        """The result of ``function``; its argument says whether it may be multithreaded: other CPUs are idle.

        Cancelling the caller cancels the job, unless it has begun.
        """
        result: Future[T] = Future()
        with self._changed:
            (self._network if network else self._others.setdefault(client, deque())).append(_Job(result, function))
            if self._num_idle < self._num_waiting():
                self._busy_until = self._clock()
            self._changed.notify()
        return await asyncio.wrap_future(result)

    def close(self, *, seconds: float = 5.0) -> None:
        """Cancel the jobs that wait, and wait up to ``seconds`` for those that run."""
        with self._changed:
            self._closed = True
            for job in chain(self._network, *self._others.values()):
                job.result.cancel()
            self._changed.notify_all()
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            (result, function), multithreaded = job
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(function(multithreaded))
                except BaseException as error:
                    result.set_exception(error)
            del job, result, function  # an idle thread keeps no picture
            with self._changed:
                self._num_idle += 1

    def _next(self) -> tuple[_Job, bool] | None:
        """The next job, and whether it may be multithreaded; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._network or self._others or self._closed)
            if self._closed:
                return None
            self._num_idle -= 1
            job = self._network.popleft() if self._network else self._next_in_turn()
            calm = self._clock() - self._busy_until >= CALM_SECONDS
            return job, calm and self._num_idle > self._num_waiting()

    def _next_in_turn(self) -> _Job:
        client, jobs = self._others.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._others[client] = jobs  # behind the other clients
        return job

    def _num_waiting(self) -> int:
        return len(self._network) + sum(map(len, self._others.values()))
