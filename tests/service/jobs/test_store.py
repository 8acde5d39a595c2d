"""Jobs in a real Redis: each image is answered once, what is over is gone, and there is a limit to all of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from service.jobs.book import Counts
from service.jobs.job import ANNOUNCE, ANSWER, PREFIX, Begun, Item, Job, NewJob
from service.jobs.queue import Queue
from service.jobs.store import JobStore
from service.settings import ANSWER_BYTES
from tests.service.real_redis import RealRedis

ONE, TWO = "1" * 32, "2" * 32
OWNER = "clinic:0123abcd"


def new_job(id: str = ONE, num: int = 3, *, size: int = 4, owner: str = OWNER, webhook: str | None = None) -> NewJob:
    """A job of as many images, each of a few equal bytes."""
    items = [Item(reference=f"r{i}" if i else None) for i in range(num)]
    return NewJob(id, owner, owner.partition(":")[0], "balanced", items, num * size, webhook)


async def create(store: JobStore, new: NewJob, *, max_bytes: int = 2**20, ttl: float = 60.0) -> Job:
    """The job, kept."""
    size = new.num_bytes // len(new.items)
    images = [bytes([index]) * size for index in range(len(new.items))]
    job = await store.create(new, images, max_bytes, 0.5, ttl)
    assert await store.get(new.id, [new.owner]) == job
    return job


def play(server: RealRedis, scenario: Callable[[JobStore], Awaitable[Any]]) -> None:
    async def played() -> None:
        store = JobStore(server.url)
        try:
            await scenario(store)
        finally:
            store.close()

    asyncio.run(played())


def images_in(server: RealRedis, id: str = ONE) -> set[int]:
    found: Any = server.client.keys(f"{PREFIX}:{id}:image:*")
    return {int(key.rpartition(b":")[2]) for key in found}


def _queued(server: RealRedis) -> set[tuple[object, ...]]:
    return Queue(server.client).waiting()


async def answer(store: JobStore, index: int, said: str | None = None, *, id: str = ONE, failed: bool = False) -> bool:
    """Whether an attempt that begins and ends kept its result."""
    attempt = f"{index}a"
    begun = await store.begin(id, index, attempt)
    assert begun is not None
    return await store.finish(id, index, attempt, said or f"<{index}>", failed=failed)


def test_an_image_is_erased_when_it_is_answered_and_results_are_paged(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        job = await create(store, new_job(webhook="https://clinic.example.org/cin"))
        assert (job.status().state, job.pictures, job.client) == ("waiting", 3, "clinic")
        await store.create(
            new_job(), [bytes([i]) * 4 for i in range(3)], 2**20, 0.5, 60.0
        )  # as when the reply was lost
        assert server.client.hlen(f"{PREFIX}:queue:{ANSWER}.msgs") == 3
        assert _queued(server) == {(ANSWER, ONE, 0), (ANSWER, ONE, 1), (ANSWER, ONE, 2)}
        looked = [await store.look(ONE, index) for index in range(3)]
        assert [each and (each.index, each.tries, each.item.reference) for each in looked] == [
            (0, 0, None),
            (1, 0, "r1"),
            (2, 0, "r2"),
        ]
        for index in (2, 0):
            assert await store.begin(ONE, index, "a") == Begun(bytes([index]) * 4, set())
            assert await store.finish(ONE, index, "a", f"<{index}>", failed=index == 0)
        assert images_in(server) == {1}
        assert await store.look(ONE, 2) is None
        assert await store.results(job, after=0, limit=9, as_sent=False) == ["<2>", "<0>"]
        assert await store.results(job, after=1, limit=9, as_sent=False) == ["<0>"]
        assert await store.results(job, after=0, limit=9, as_sent=True) == ["<0>"], "the next one is not answered"
        assert await store.count() == Counts(1, 1, 12 + 3 * ANSWER_BYTES, 0, 0)
        assert (ANNOUNCE, ONE) not in _queued(server)
        await answer(store, 1)
        assert await store.results(job, after=0, limit=2, as_sent=True) == ["<0>", "<1>"]
        done = await store.get(ONE, ["other:1", OWNER])
        assert done is not None
        assert (done.status().state, done.answered, done.failed) == ("done", 3, 1)
        assert await store.count() == Counts(1, 0, 3 * ANSWER_BYTES, 0, 0)
        assert (ANNOUNCE, ONE) in _queued(server)

    play(server, scenario)


def test_only_the_attempt_that_began_last_gives_the_result_and_only_once(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        job = await create(store, new_job(num=2))
        await asyncio.gather(*[store.begin(ONE, 0, f"a{number}") for number in range(8)])
        last = await store.begin(ONE, 0, "late")
        assert last is not None
        assert last.before == {f"a{number}" for number in range(8)}
        attempts = ["late", *sorted(last.before)]
        outcomes = await asyncio.gather(*[store.finish(ONE, 0, each, f"<{each}>", failed=False) for each in attempts])
        assert outcomes == [True, *[False] * 8]
        assert await store.finish(ONE, 0, "late", "<late>", failed=False), "a call whose reply was lost comes again"
        assert not await store.finish(ONE, 0, "a1", "<a1>", failed=True)
        assert await store.begin(ONE, 0, "later") is None
        assert await store.results(job, after=0, limit=9, as_sent=False) == ["<late>"]
        answered = await store.get(ONE)
        assert answered is not None
        assert (answered.answered, answered.failed) == (1, 0)

    play(server, scenario)


def test_tries_are_counted_but_for_those_that_were_put_off(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        await create(store, new_job(num=1))
        for tries in range(3):
            picture = await store.look(ONE, 0)
            assert picture is not None
            assert (picture.tries, picture.delays) == (tries, 0)
            for _ in range(2):  # as when the reply to the first call is lost
                assert await store.begin(ONE, 0, f"a{tries}") == Begun(bytes(4), {f"a{each}" for each in range(tries)})
            job = await store.get(ONE)
            assert job is not None
            assert job.status().state == "running"
        await store.put_off(ONE, 0, "a1", seconds=60)
        held = await store.look(ONE, 0)
        assert held is not None
        assert held.delays == 0, "another attempt holds it"
        await store.put_off(ONE, 0, "a2", seconds=60)
        again = await store.look(ONE, 0)
        assert again is not None
        assert (again.tries, again.delays) == (2, 1)
        assert not await store.finish(ONE, 0, "a1", "<0>", failed=False)
        assert not await store.finish(ONE, 0, "a2", "<0>", failed=False)
        assert await store.begin(ONE, 0, "a3") == Begun(bytes(4), {"a0", "a1"})

    play(server, scenario)


def test_what_is_in_no_message_is_queued_again_and_nothing_else(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        await create(store, new_job(ONE, 3, webhook="https://clinic.example.org/cin"))
        await answer(store, 1)
        assert await store.remind() == 0
        server.client.delete(*server.client.keys(f"{PREFIX}:queue:*"))
        assert await store.remind() == 2
        assert _queued(server) == {(ANSWER, ONE, 0), (ANSWER, ONE, 2)}
        await store.begin(ONE, 0, "a")
        await store.put_off(ONE, 0, "a", seconds=60)
        assert await store.remind() == 0
        for index in (0, 2):
            await answer(store, index)
        server.client.delete(*server.client.keys(f"{PREFIX}:queue:*"))
        assert await store.remind() == 1
        assert _queued(server) == {(ANNOUNCE, ONE)}
        await store.announce_later(ONE, seconds=60)
        assert await store.remind() == 0
        await store.note(ONE, "delivered")
        server.client.delete(*server.client.keys(f"{PREFIX}:queue:*"))
        assert await store.remind() == 0

    play(server, scenario)


def test_an_end_that_a_killed_worker_did_not_note_is_noted_later(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        await create(store, new_job(ONE, 1, webhook="https://clinic.example.org/cin"))
        await answer(store, 0)
        server.client.hdel(f"{PREFIX}:{ONE}:job", "ended")
        server.client.delete(*server.client.keys(f"{PREFIX}:queue:*"))
        await store.remind()
        job = await store.get(ONE)
        assert job is not None
        assert job.ended is not None
        assert _queued(server) == {(ANNOUNCE, ONE)}

    play(server, scenario)


def test_only_its_owner_finds_and_erases_a_job_and_nothing_is_left(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        await create(store, new_job(webhook="https://clinic.example.org/cin"))
        await answer(store, 0, '{"prediction":{"id":"made"}}')
        await answer(store, 1, '{"prediction":null}', failed=True)
        await store.begin(ONE, 2, "in hand")
        assert await store.get(ONE, ["other:1"]) is None
        assert await store.erase(ONE, ["other:1"]) is None
        assert await store.erase(ONE, ["other:1", OWNER]) == {"made", "in hand"}
        assert await store.erase(ONE, [OWNER]) is None
        assert await store.get(ONE, [OWNER]) is None
        assert not await store.finish(ONE, 2, "in hand", "late", failed=False)
        assert await store.begin(ONE, 2, "b") is None
        await store.note(ONE, "delivered")
        await store.put_off(ONE, 2, "in hand", seconds=1)
        left = {key.decode().removeprefix(PREFIX) for key in server.client.scan_iter()}
        assert {key for key in left if not key.startswith(":queue:")} <= {":begun", ":erased"}

    play(server, scenario)


def test_a_job_that_comes_while_jobs_are_counted_stays(server: RealRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    read, has_come = redis.Redis.hgetall, threading.Event()

    async def scenario(store: JobStore) -> None:
        loop = asyncio.get_running_loop()

        def then_one_comes(client: redis.Redis, name: str) -> Any:
            found = read(client, name)
            if not has_come.is_set():
                has_come.set()
                asyncio.run_coroutine_threadsafe(create(store, new_job()), loop).result(10)
            return found

        monkeypatch.setattr(redis.Redis, "hgetall", then_one_comes)
        await store.count()
        assert has_come.is_set()
        assert await store.get(ONE) is not None

    play(server, scenario)


def test_an_expired_job_is_gone_also_when_nobody_looks(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        await create(store, new_job(), ttl=1.0)
        await answer(store, 0)
        await store.begin(ONE, 1, "a")
        await asyncio.sleep(1.1)
        assert [key for key in server.client.scan_iter() if ONE in key.decode()] == []
        assert await store.count() == Counts(0, 0, 0, 0, 0)
        assert server.client.exists(f"{PREFIX}:book") == 0

    play(server, scenario)
