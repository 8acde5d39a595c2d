"""What is queued is done, also when a worker is killed or its connection is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from service.jobs import queue
from service.jobs.job import ANSWER
from service.jobs.queue import Queue
from service.jobs.store import JobStore
from tests.paths import REPOSITORY
from tests.service.real_redis import RealRedis
from tests.service.waiting import wait_until

# Takes messages, and says which, and never ends with one.
HOLDS = """
import asyncio, sys
from service.jobs.store import JobStore

async def hold(*args):
    print("held", *args, flush=True)
    await asyncio.Event().wait()

async def main():
    JobStore(sys.argv[1]).consumer({"answer": hold}, at_once=2)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "DEAD_SECONDS", 1.0)
    monkeypatch.setattr(queue, "_POLL_SECONDS", 0.05)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def test_what_a_killed_worker_had_in_hand_is_done_by_another_one(server: RealRedis) -> None:
    for index in range(4):
        Queue(server.client).add(ANSWER, "job", index)
    command = [sys.executable, "-c", HOLDS, server.url]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert [holder.stdout.readline().split()[0] for _ in range(2)] == ["held", "held"]
        holder.send_signal(signal.SIGKILL)
    done = set()

    async def scenario() -> None:
        store = JobStore(server.url)

        async def note(job: str, index: int) -> None:
            done.add((job, index))

        consumer = store.consumer({ANSWER: note}, at_once=2)
        await _until(lambda: len(done) == 4)
        assert consumer.works
        await asyncio.to_thread(consumer.stop, 5.0)
        store.close()

    asyncio.run(scenario())
    wait_until(lambda: not Queue(server.client).waiting(), "all are confirmed")


def test_what_was_in_a_lost_reply_is_done_by_the_next_consumer(
    server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis gave a message to a worker whose connection ended before it came."""
    done: set[int] = set()
    monkeypatch.setattr("service.jobs.changes._TIMEOUT_SECONDS", 0.5)

    async def scenario() -> None:
        store = JobStore(server.url)

        async def note(_: str, index: int) -> None:
            done.add(index)

        consumer = store.consumer({ANSWER: note}, at_once=1)
        with server.client.pipeline() as pipe:
            taken = Queue(pipe)
            taken.broker_id = consumer.queue.broker_id
            taken.add(ANSWER, "job", 0)
            taken.do_fetch(ANSWER, 1)
            pipe.execute()
        Queue(server.client).add(ANSWER, "job", 1)
        await _until(lambda: done)
        assert (done, consumer.works) == ({1}, True)
        with server.hanging():
            await _until(lambda: not consumer.works)
        await asyncio.to_thread(consumer.stop, 5.0)
        consumer = store.consumer({ANSWER: note}, at_once=1)
        await _until(lambda: done == {0, 1})
        await asyncio.to_thread(consumer.stop, 5.0)
        store.close()

    asyncio.run(scenario())


def test_a_handler_that_fails_confirms_nothing(server: RealRedis) -> None:
    Queue(server.client).add(ANSWER, "job", 0)
    tried: list[int] = []

    async def scenario() -> None:
        store = JobStore(server.url)

        async def fail(_: str, index: int) -> None:
            tried.append(index)
            raise RuntimeError

        consumer = store.consumer({ANSWER: fail}, at_once=1)
        await _until(lambda: tried)
        await asyncio.to_thread(consumer.stop, 0.3)
        store.close()

    asyncio.run(scenario())
    assert Queue(server.client).waiting() == {(ANSWER, "job", 0)}
