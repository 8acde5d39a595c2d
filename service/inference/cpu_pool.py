"""The threads that compute on a CPU, one for each core: more at once would make all of it slower."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

# Jobs spread only after a time as long as this in which none had to wait. Under load the cores that one job spreads
# over are soon missed by the next: spreading makes the first a little faster and everybody after it wait longer.
CALM_SECONDS = 1.0


class _Job(NamedTuple):
    result: Future[Any]
    function: Callable[[bool], Any]


class Cores:
    """``num`` threads that take one job after the other without asking the event loop in between.

    The network's jobs come first: a picture that is decoded already is nearer to its answer than one that is not.
    """

    def __init__(self, num: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy_until = -CALM_SECONDS + clock()
        self._network: deque[_Job] = deque()
        self._others: deque[_Job] = deque()
        self._changed = Condition()
        self._num_idle = num
        self._closed = False
        self._threads = [Thread(target=self._work, name=f"core-{i}", daemon=True) for i in range(num)]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[[bool], T], *, network: bool = False) -> T:
        """What ``function`` gives; it is told whether it may spread: other cores are idle, and likely to stay so.

        Cancelling the caller takes the job back, unless it has begun.
        """
        result: Future[T] = Future()
        with self._changed:
            (self._network if network else self._others).append(_Job(result, function))
            if self._num_idle < len(self._network) + len(self._others):
                self._busy_until = self._clock()
            self._changed.notify()
        return await asyncio.wrap_future(result)

    def close(self, *, seconds: float = 5.0) -> None:
        """Begin nothing more, and wait for what runs; what takes longer than ``seconds`` ends with the process."""
        with self._changed:
            self._closed = True
            for job in (*self._network, *self._others):
                job.result.cancel()
            self._changed.notify_all()
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            (result, function), spread = job
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(function(spread))
                except BaseException as error:
                    result.set_exception(error)
            del job, result, function  # an idle thread keeps no picture
            with self._changed:
                self._num_idle += 1

    def _next(self) -> tuple[_Job, bool] | None:
        """The next job, and whether it may spread; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._network or self._others or self._closed)
            if self._closed:
                return None
            self._num_idle -= 1
            job = (self._network or self._others).popleft()
            calm = self._clock() - self._busy_until >= CALM_SECONDS
            return job, calm and self._num_idle > len(self._network) + len(self._others)
