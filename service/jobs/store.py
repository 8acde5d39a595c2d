"""Jobs in a Redis that writes to its disk.

A job is a hash; beside it are its images, a key for each, what the client said of them, their attempts, and the
results. An image's key is there until it has a result. An attempt has an id, which its prediction has as well. The one
that began last holds the image: every change of the image is a transaction that watches both, so an image gets one
result, of an attempt that no other one has cleared away, and nothing is written to a job that was erased. A book has
all jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.client import Pipeline

from service.jobs.book import BOOK, Counts, enter, now, read_book, require_room, split_book
from service.jobs.changes import Changes
from service.jobs.dicomweb import InstanceUids
from service.jobs.disk import note_erasure, require_durable, rewrite
from service.jobs.job import ANNOUNCE, ANSWER, LIST, PREFIX, Begun, Item, Job, JobsError, NewJob, Notified, Picture
from service.jobs.keys import PARTS, as_put_off, attempts_in, key, read_job
from service.jobs.threads import on_thread
from service.settings import ANSWER_BYTES

# What arrived of a job that never became one is kept for this long.
_ARRIVAL_SECONDS = 120
# Images that go to Redis together, which then waits for its disk once.
_CHUNK = 32

_BEGUN = f"{PREFIX}:begun"


class JobStore(Changes):
    """Lives on one event loop, with threads of its own. Calls raise :class:`JobsError` when Redis does not work; with
    ``patient_until`` they wait for it, until that is set."""

    @on_thread
    def require_durable(self) -> None:
        """Raises :class:`JobsError` for a Redis that would lose or evict what it was given."""
        require_durable(self._redis)

    @on_thread
    def create(self, new: NewJob, pictures: Sequence[bytes], max_bytes: int, share: float, ttl_seconds: float) -> Job:
        """Keep a job: when this returns it is on the disk and queued, and when it raises there is none.

        Raises :class:`JobsFull` when all jobs would take more than ``max_bytes``, or those of the client more than its
        ``share`` of them.
        """
        require_room(self._redis, new, max_bytes, share)
        job = new.job(now(), ttl_seconds)
        images = {key(job.id, "image", index): picture for index, picture in enumerate(pictures)}

        def commit(pipe: Pipeline) -> None:
            if pipe.exists(key(job.id, "job")):
                return  # it is kept; the reply was lost
            require_room(pipe, new, max_bytes, share)
            if images and pipe.exists(*images) < len(images):
                raise JobsError("the job took too long to arrive; send it again, or smaller")
            pipe.multi()
            enter(pipe, job, new.counted_bytes)
            pipe.hset(key(job.id, "job"), mapping=job.fields())
            for index, item in enumerate(new.items):
                pipe.hset(key(job.id, "items"), str(index), item.model_dump_json(exclude_defaults=True))
            for name in (*images, *(key(job.id, part) for part in PARTS)):
                pipe.pexpireat(name, job.expires)
            queue = self._queue.Queue(pipe)
            for index in range(len(new.items)):
                queue.add(ANSWER, job.id, index)
            if job.query is not None:
                queue.add(LIST, job.id)

        try:
            for at in range(0, len(images), _CHUNK):
                with self._redis.pipeline(transaction=False) as pipe:
                    for name, image in list(images.items())[at : at + _CHUNK]:
                        pipe.set(name, image, ex=_ARRIVAL_SECONDS)
                    pipe.execute()
            self._redis.transaction(commit, BOOK)
        except BaseException:
            self._wipe(job.id, job.pictures)
            raise
        return job

    @on_thread
    def get(self, id: str, owners: Sequence[str] | None = None) -> Job | None:
        """The job, unless it is unknown, expired, erased or another owner's; None: of any owner."""
        job = read_job(self._redis, id)
        return job if job is not None and (owners is None or job.owner in owners) else None

    @on_thread
    def results(self, job: Job, *, after: int, limit: int, as_sent: bool) -> list[str]:
        """Up to ``limit`` results after as many, as JSON: as they became ready, or up to the first that is not."""
        indices: list[Any] = list(range(after, min(after + limit, job.pictures)))
        if not as_sent:
            indices = self._redis.lrange(key(job.id, "order"), after, after + limit - 1)
        found = self._redis.hmget(key(job.id, "results"), indices) if indices else []
        end = found.index(None) if None in found else len(found)
        return [result.decode() for result in found[:end]]

    @on_thread
    def erase(self, id: str, owners: Sequence[str]) -> set[str] | None:
        """Erase a job of one of the owners; the ids of predictions that may be kept of it, None: there was none."""
        job = read_job(self._redis, id)
        return self._wipe(id, job.pictures) if job is not None and job.owner in owners else None

    @on_thread
    def look(self, id: str, index: int) -> Picture | None:
        """What is known of an image but its bytes; None: it has a result, or the job is gone."""
        if (job := read_job(self._redis, id)) is None or (item := self._redis.hget(key(id, "items"), index)) is None:
            return None
        begun, put_off = attempts_in(self._redis.lrange(key(id, "tries", index), 0, -1))
        told = Item.model_validate_json(item)
        return Picture(id, index, len(begun), len(put_off), job.owner, job.operating_point, told, job.server)

    @on_thread
    def begin(self, id: str, index: int, attempt: str) -> Begun | None:
        """Have an attempt hold the image from now on; None as for :meth:`look`."""

        def begun(pipe: Pipeline) -> None:
            pipe.get(key(id, "image", index))
            pipe.rpush(key(id, "tries", index), attempt)
            pipe.lrange(key(id, "tries", index), 0, -1)
            pipe.hset(key(id, "job"), "begun", 1)
            pipe.set(_BEGUN, now())

        replies = self._change(id, begun, index=index)
        return Begun(replies[0], attempts_in(replies[2]).begun - {attempt}) if replies else None

    @on_thread
    def finish(self, id: str, index: int, attempt: str, result: str, *, failed: bool) -> bool:
        """Keep a result, and erase its image; False: the attempt no longer holds it, or the job is erased."""

        def finished(pipe: Pipeline) -> None:
            pipe.hset(key(id, "results"), str(index), result)
            pipe.rpush(key(id, "order"), index)
            pipe.hincrby(key(id, "job"), "answered", 1)
            pipe.hincrby(key(id, "job"), "failed", int(failed))
            pipe.unlink(*(key(id, part, index) for part in ("image", "tries")))
            pipe.hdel(key(id, "items"), str(index))
            note_erasure(pipe)

        kept = self._change(id, finished, index=index, attempt=attempt)
        self._end(id)
        # It may have been kept already, by a call whose reply was lost.
        return bool(kept) or self._redis.hget(key(id, "results"), str(index)) == result.encode()

    @on_thread
    def put_off(self, id: str, index: int, attempt: str, *, seconds: float) -> None:
        """Have another attempt made later; this one has rolled itself back, and does not count as a try."""

        def put_off(pipe: Pipeline) -> None:
            pipe.rpush(key(id, "tries", index), as_put_off(attempt))
            self._queue.Queue(pipe).add(ANSWER, id, index, seconds=seconds)

        self._change(id, put_off, index=index, attempt=attempt)

    @on_thread
    def list_later(self, id: str, *, seconds: float) -> None:
        """Count a listing that was in vain, and have the job's images listed again."""

        def put_off(pipe: Pipeline) -> None:
            pipe.hincrby(key(id, "job"), "listings", 1)
            pipe.set(_BEGUN, now())
            self._queue.Queue(pipe).add(LIST, id, seconds=seconds)

        self._change(id, put_off, when=lambda job: not job.listed)

    @on_thread
    def listed(self, job: Job, instances: Sequence[InstanceUids], problem: str | None = None) -> bool:
        """Keep which images a job has, or the problem for which it has none; False: they are kept already."""

        def listed(pipe: Pipeline) -> None:
            queue, name = self._queue.Queue(pipe), key(job.id, "job")
            pipe.hset(name, mapping={"pictures": len(instances), "listed": 1, "begun": 1})
            if problem is not None:
                pipe.hset(name, "problem", problem)
            enter(pipe, job, len(instances) * ANSWER_BYTES)
            pipe.set(_BEGUN, now())
            for index, instance in enumerate(instances):
                item = Item(instance=instance).model_dump_json(exclude_defaults=True)
                pipe.hset(key(job.id, "items"), str(index), item)
                # Without bytes: it says that there is no result yet.
                pipe.set(key(job.id, "image", index), b"", pxat=job.expires)
                queue.add(ANSWER, job.id, index)

        kept = self._change(job.id, listed, when=lambda job: not job.listed)
        self._end(job.id)
        return bool(kept)

    @on_thread
    def announce_later(self, id: str, *, seconds: float) -> None:
        """Count an announcement that was in vain, and have the end announced again."""

        def put_off(pipe: Pipeline) -> None:
            pipe.hincrby(key(id, "job"), "announcements", 1)
            self._queue.Queue(pipe).add(ANNOUNCE, id, seconds=seconds)

        self._change(id, put_off)

    @on_thread
    def note(self, id: str, outcome: Notified) -> None:
        """Keep what became of an announcement."""
        self._change(id, lambda pipe: pipe.hset(key(id, "job"), "notified", outcome))

    @on_thread
    def remind(self) -> int:
        """Queue what is to be done and in no message; how much that was."""
        due: set[tuple[Any, ...]] = set()
        for job in filter(None, map(self._end, read_book(self._redis))):
            if job.ended is None:
                due |= {(ANSWER, job.id, int(index)) for index in self._redis.hkeys(key(job.id, "items"))}
                due |= set() if job.listed else {(LIST, job.id)}
            elif job.notified == "waiting":
                due.add((ANNOUNCE, job.id))
        queue = self._queue.Queue(self._redis)
        missing = sorted(due - queue.waiting())  # asked last: what was queued meanwhile is not missing
        for what, *args in missing:
            queue.add(what, *args)
        return len(missing)

    @on_thread
    def count(self) -> Counts[int]:
        """What is kept now. Strikes expired jobs out of the book."""
        book, expired = split_book(self._redis)
        for id in expired:
            self._wipe(id, 0)
        jobs = [job for id in book if (job := read_job(self._redis, id)) is not None and job.ended is None]
        waiting = sum(job.pictures - job.answered for job in jobs if job.listed)
        oldest = min((job.created for job in jobs), default=now())
        idle = now() - max(oldest, int(self._redis.get(_BEGUN) or 0)) if jobs else 0
        size = sum(each.bytes for each in book.values())
        return Counts(len(book), waiting, size, (now() - oldest) // 1000, idle // 1000)

    @on_thread
    def rewrite(self) -> None:
        """Have what was erased leave the disk as well, within about a minute."""
        rewrite(self._redis)
