"""Jobs are on the disk of Redis before they are acknowledged, and leave it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.jobs.job import JobsError
from service.jobs.metrics import JobMetrics, watch
from service.jobs.store import JobStore
from tests.service.jobs.test_store import ONE, answer, new_job, play
from tests.service.real_redis import RealRedis, free_port


def test_a_redis_without_a_disk_or_that_evicts_is_refused(server: RealRedis) -> None:
    async def scenario(store: JobStore) -> None:
        with pytest.raises(JobsError, match="--appendonly yes"):
            await store.require_durable()

    play(server, scenario)
    with pytest.raises(JobsError, match="redis://host:6379/0"):
        JobStore("http://somewhere")

    async def unreachable() -> None:
        store = JobStore(f"redis://127.0.0.1:{free_port()}/0")
        with pytest.raises(JobsError, match="CIN_JOBS_URL"):
            await store.look(ONE, 0)

    asyncio.run(unreachable())


def test_metrics_and_the_log_tell_of_a_redis_that_cannot_be_used(
    server: RealRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    metrics = JobMetrics(registry)
    monkeypatch.setattr("service.jobs.metrics._EVERY_SECONDS", 0.01)

    async def scenario(store: JobStore) -> None:
        watching = asyncio.create_task(watch(store, metrics))
        async with asyncio.timeout(30):
            while not caplog.messages:
                await asyncio.sleep(0.01)
        assert registry.get_sample_value("cin_jobs_reachable") == 0
        with monkeypatch.context() as patched:
            patched.setattr("service.jobs.store.require_durable", lambda client: None)
            async with asyncio.timeout(30):
                while not registry.get_sample_value("cin_jobs_reachable"):
                    await asyncio.sleep(0.01)
        watching.cancel()

    play(server, scenario)
    assert sum("--appendonly yes" in each for each in caplog.messages) == 1


@pytest.mark.integration
def test_an_answered_image_is_gone_from_the_disk_after_a_rewrite_and_a_job_outlives_kill_9(tmp_path: Path) -> None:
    redis = RealRedis(tmp_path, durable=True)
    secret = b"the bytes of a lesion" * 50

    def on_disk() -> bool:
        return any(secret in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    async def keep(store: JobStore) -> None:
        await store.require_durable()
        await store.create(new_job(num=1), [secret], 2**20, 1.0, 60)

    async def wait_for_it() -> None:
        store = JobStore(redis.url, patient_until=asyncio.Event())
        asked = asyncio.create_task(store.look(ONE, 0))
        await asyncio.sleep(0.2)
        redis.start()
        assert await asked is not None
        store.close()

    async def answered(store: JobStore) -> None:
        await answer(store, 0)
        assert on_disk()
        await store.rewrite()
        ends = time.monotonic() + 10
        while on_disk() and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        assert not on_disk()
        for name, value in {"maxmemory-policy": "allkeys-lru", "appendfsync": "everysec"}.items():
            usual = str(redis.client.config_get(name)[name])
            redis.client.config_set(name, value)
            with pytest.raises(JobsError, match=f"--{name} {usual}"):
                await store.require_durable()
            redis.client.config_set(name, usual)

    try:
        play(redis, keep)
        assert on_disk()
        redis.kill()
        asyncio.run(wait_for_it())
        play(redis, answered)
    finally:
        redis.stop()
