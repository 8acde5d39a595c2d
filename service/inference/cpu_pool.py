"""The threads that compute on a CPU, one per core: with more, every job would take longer."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain
from threading import Condition, Thread
from typing import Any, NamedTuple, TypeVar

from service.admission.admission import Busy

T = TypeVar("T")

# A job may be multithreaded when no job has waited for this many seconds. Under load, the threads that speed up one job
# a little would delay the next ones more.
CALM_SECONDS = 1.0


class _Job(NamedTuple):
    result: Future[Any]
    function: Callable[[bool], Any]
    client: str | None  # None: a job of the network, which is charged to no client


class CpuPool:
    """``num`` threads that take one job after another, without a round trip through the event loop.

    The network's jobs come first: a decoded image is closer to its answer than one still to be decoded. Other jobs are
    scheduled fairly: next is the client that has used the least time, so one client's many or long jobs do not delay
    another's. A client without waiting jobs starts from the time of the client in turn, so it cannot save up time.
    """

    def __init__(
        self, num: int, *, max_waiting: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """At most ``max_waiting`` jobs of clients wait, one of each client; None: no limit."""
        self._max_waiting, self._clock = max_waiting, clock
        self._busy_until = -CALM_SECONDS + clock()
        self._network: deque[_Job] = deque()
        self._others: dict[str, deque[_Job]] = {}  # by client; among equals in time used, the next one first
        self._taken: dict[str, float] = {}  # seconds used, by clients that wait or have used more than the next one
        self._taken_by_next = 0.0
        self._changed = Condition()
        self._num_idle = num
        self._closed = False
        self._threads = [Thread(target=self._work, name=f"cpu-{i}", daemon=True) for i in range(num)]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[[bool], T], *, network: bool = False, client: str = "") -> T:
        """Run ``function``; its argument says whether it may be multithreaded, because other CPUs are idle.

        Cancelling the caller cancels the job, unless it has started. Raises :class:`Busy` when too many wait.
        """
        result: Future[T] = Future()
        job = _Job(result, function, None if network else client)
        with self._changed:
            if not network:
                self._require_room(client)
                if client not in self._others:
                    self._taken[client] = max(self._taken.get(client, 0.0), self._taken_by_next)
            (self._network if network else self._others.setdefault(client, deque())).append(job)
            if self._num_idle < self._num_waiting():
                self._busy_until = self._clock()
            self._changed.notify()
        try:
            return await asyncio.wrap_future(result)
        except asyncio.CancelledError:
            self._forget(job)
            raise
        finally:
            del job, result  # break the cycle: error, this frame, job with its upload

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

    def _require_room(self, client: str) -> None:
        if self._max_waiting is None:
            return
        of_client = len(self._others.get(client, ()))
        if self._num_waiting() - self._num_idle >= self._max_waiting or of_client - self._num_idle >= 1:
            raise Busy

    def _forget(self, job: _Job) -> None:
        """Remove a cancelled job from its queue at once: it holds an upload."""
        with self._changed, suppress(KeyError, ValueError):  # it has started
            if job.client is None:
                self._network.remove(job)
            else:
                self._others[job.client].remove(job)
                if not self._others[job.client]:
                    del self._others[job.client]

    def _work(self) -> None:
        while (job := self._next()) is not None:
            (result, function, client), multithreaded = job
            began = self._clock()
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(function(multithreaded))
                except BaseException as error:
                    result.set_exception(error)
            del job, result, function  # an idle thread keeps no image
            with self._changed:
                self._num_idle += 1
                if client is not None:
                    self._charge(client, self._clock() - began)

    def _charge(self, client: str, seconds: float) -> None:
        self._taken[client] = self._taken.get(client, self._taken_by_next) + seconds
        self._taken = {
            name: taken for name, taken in self._taken.items() if name in self._others or taken > self._taken_by_next
        }

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
        client = min(self._others, key=self._taken.__getitem__)
        self._taken_by_next = self._taken[client]
        jobs = self._others.pop(client)
        job = jobs.popleft()
        if jobs:
            self._others[client] = jobs  # behind its equals in time used
        return job

    def _num_waiting(self) -> int:
        return len(self._network) + sum(map(len, self._others.values()))
