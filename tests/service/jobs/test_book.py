"""There is a limit to all jobs, and to those of a client."""

from __future__ import annotations

import pytest

from service.jobs.book import Counts
from service.jobs.job import JobsFull
from service.jobs.store import JobStore
from service.settings import ANSWER_BYTES
from tests.service.jobs.test_store import ONE, OWNER, TWO, create, images_in, new_job, play
from tests.service.real_redis import RealRedis


def test_all_jobs_and_those_of_a_client_have_a_limit(server: RealRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 4 * (ANSWER_BYTES + 4)

    async def scenario(store: JobStore) -> None:
        await create(store, new_job(ONE, 2), max_bytes=room)
        with pytest.raises(JobsFull, match="of this client"):
            await create(store, new_job(TWO, 1), max_bytes=room)
        other = "other:0123abcd"
        await create(store, new_job(TWO, 1, owner=other), max_bytes=room)
        with pytest.raises(JobsFull, match="of all clients"):
            await create(store, new_job("3" * 32, 2, owner="third:1"), max_bytes=room)
        await store.erase(ONE, [OWNER])
        await create(store, new_job("3" * 32, 2, owner="third:1"), max_bytes=room)
        monkeypatch.setattr("service.jobs.book.MOST_JOBS", 4)
        await create(store, new_job("4" * 32, 1, owner="third:1"))
        with pytest.raises(JobsFull, match="of this client"):
            await create(store, new_job("5" * 32, 1, owner="third:1"))
        await create(store, new_job("5" * 32, 1))
        with pytest.raises(JobsFull, match="of all clients"):
            await create(store, new_job("6" * 32, 1))

    play(server, scenario)


def test_a_redis_that_is_full_says_so_and_keeps_no_half_job(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        server.client.config_set("maxmemory", server.client.info("memory")["used_memory"] + 100_000)
        try:
            with pytest.raises(JobsFull, match="maxmemory"):
                await create(store, new_job(num=3, size=2**20), max_bytes=2**30)
        finally:
            server.client.config_set("maxmemory", 0)
        assert await store.count() == Counts(0, 0, 0, 0, 0)
        assert images_in(server) == set()

    play(server, scenario)
