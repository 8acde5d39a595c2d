"""How a job changes in Redis: by transactions on its keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from service.jobs.book import BOOK, enter, now
from service.jobs.disk import note_erasure
from service.jobs.job import ANNOUNCE, Handler, Job, JobsError
from service.jobs.keys import PARTS, attempts_in, key, read_job
from service.jobs.threads import OnThreads
from service.settings import ANSWER_BYTES

if TYPE_CHECKING:
    from service.jobs.queue import Consumer

# To connect, and for each part of a reply, which waits for the disk.
_TIMEOUT_SECONDS = 5.0


class Changes(OnThreads):
    """The connections to Redis, and what every change takes; for :class:`service.jobs.store.JobStore`."""

    def __init__(self, url: str, *, patient_until: asyncio.Event | None = None) -> None:
        """Connects with the first call. Raises :class:`JobsError` for an invalid URL."""
        # A pooled connection may have ended since its last use. Every change may be made twice.
        retry = Retry(ConstantBackoff(0.05), retries=1, supported_errors=(redis.ConnectionError,))
        try:
            self._redis = self._connected(url, retry)
        except ValueError as error:
            raise JobsError("CIN_JOBS_URL is not a URL of Redis; write redis://host:6379/0") from error
        super().__init__(patient_until)
        try:
            from service.jobs import queue  # when it is used: it is an extra
        except ImportError as error:
            raise JobsError("jobs need the service with its extra [jobs]") from error
        self._queue, self._url = queue, url

    def consumer(self, handlers: dict[str, Handler], *, at_once: int) -> Consumer:
        """Who does what is queued, from now on."""
        return self._queue.Consumer(
            self._connected(self._url, Retry(NoBackoff(), retries=0)), handlers, at_once=at_once
        )

    @staticmethod
    def _connected(url: str, retry: Retry) -> Any:
        return redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS, retry=retry
        )

    def close(self) -> None:
        """Close the connections."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._redis.close()

    def _change(
        self,
        id: str,
        change: Callable[[Pipeline], Any],
        *,
        when: Callable[[Job], bool] = bool,
        index: int | None = None,
        attempt: str | None = None,
    ) -> list[Any]:
        """Redis' replies to a change of a job in one step; empty when it is gone, or not so. With an ``index``, also
        when that image has a result, or an ``attempt`` does not hold it."""
        image, tries = key(id, "image", index), key(id, "tries", index)

        def changed(pipe: Pipeline) -> None:
            job = read_job(pipe, id)
            if job is None or not when(job) or (index is not None and not pipe.exists(image)):
                return
            if attempt is not None and pipe.lindex(tries, -1) != attempt.encode():
                return
            pipe.multi()
            change(pipe)
            for name in (*(key(id, part) for part in PARTS), tries):
                pipe.pexpireat(name, job.expires)

        watched = (key(id, "job"),) if index is None else (image, tries)
        return list(self._redis.transaction(changed, *watched))

    def _end(self, id: str) -> Job | None:
        """The job; where its last result is there, its end is noted, once, and announced."""
        job = read_job(self._redis, id)
        if job is None or job.ended is not None or job.answered < job.pictures:
            return job

        def ended(pipe: Pipeline) -> None:
            pipe.hset(key(id, "job"), "ended", now())
            enter(pipe, job, job.pictures * ANSWER_BYTES)
            if job.webhook_url is not None:
                self._queue.Queue(pipe).add(ANNOUNCE, id)

        self._change(id, ended, when=lambda job: job.ended is None)
        return read_job(self._redis, id)

    def _wipe(self, id: str, num: int) -> set[str] | None:
        """Erase what there is of a job of so many images; the ids of its attempts, None where there was none."""
        tries = [key(id, "tries", index) for index in range(num)]
        with self._redis.pipeline() as pipe:
            pipe.unlink(key(id, "job"))
            pipe.hvals(key(id, "results"))
            for each in tries:
                pipe.lrange(each, 0, -1)
            pipe.unlink(*(key(id, part) for part in PARTS), *tries, *(key(id, "image", i) for i in range(num)))
            pipe.hdel(BOOK, id)
            note_erasure(pipe)
            was_there, results, *attempts = pipe.execute()[: 2 + num]
        made = [prediction["id"] for each in results if (prediction := json.loads(each)["prediction"])]
        return {*made, *(attempt for each in attempts for attempt in attempts_in(each).begun)} if was_there else None
