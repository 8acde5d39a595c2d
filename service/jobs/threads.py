"""Calls of Redis beside the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import redis

from service.jobs.job import JobsError, JobsFull

log = logging.getLogger(__name__)

_NUM_THREADS = 8
# For a call as a whole.
_CALL_SECONDS = 60.0
_PAUSE_SECONDS = 1.0


class OnThreads:
    """Threads of its own. With ``patient_until``, calls wait for a Redis that does not work, until that is set."""

    def __init__(self, patient_until: asyncio.Event | None) -> None:
        self.patient_until = patient_until
        self.threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="jobs")


S = TypeVar("S", bound=OnThreads)
P = ParamSpec("P")
T = TypeVar("T")


def on_thread(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The method as a coroutine, which raises :class:`JobsError` when Redis does not work, or waits for it."""

    async def called(self: S, *args: P.args, **named: P.kwargs) -> T:
        while True:
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    call = partial(method, self, *args, **named)
                    return await asyncio.get_running_loop().run_in_executor(self.threads, call)
            except redis.OutOfMemoryError as error:
                failure: JobsError = JobsFull(
                    "the jobs' Redis is full; raise its maxmemory, or lower CIN_JOBS_MAX_BYTES"
                )
                failure.__cause__ = error
            except (redis.RedisError, OSError, TimeoutError) as error:
                failure = JobsError(f"the jobs' Redis cannot be used ({error}); check that it runs, and CIN_JOBS_URL")
                failure.__cause__ = error
            if self.patient_until is None or self.patient_until.is_set():
                raise failure
            log.warning("%s; tried again", failure)
            await asyncio.sleep(_PAUSE_SECONDS)

    return cast(Callable[Concatenate[S, P], Coroutine[Any, Any, T]], wraps(method)(called))
