"""The store off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from service.attention.overlay import AttentionMaps
from service.storage.records import Records
from service.storage.sqlite import SqliteRecords
from service.storage.store import Purged, Record, RecordExists, RecordsError, RecordsFull

ID, OWNER = "0" * 32, "clinic"


@pytest.fixture
def record() -> Record:
    maps = AttentionMaps(
        frame=np.zeros((4, 4, 3), np.uint8),
        width=4,
        height=4,
        crop_box=np.array([0, 0, 1, 1], np.float32),
        lesion=np.zeros((4, 4), np.uint8),
        spatial=None,
        correlation=None,
    )
    return Record(OWNER, "{}", maps)


class Held(SqliteRecords):
    """A store whose writes wait for a signal, or fail."""

    def __init__(self) -> None:
        super().__init__(None, ttl_seconds=60, max_bytes=2**24)
        self.begun, self.go = threading.Event(), threading.Event()
        self.error: RecordsError | None = None

    def put(self, id: str, record: Record) -> None:
        self.begun.set()
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        super().put(id, record)


def play(work: Callable[[Records, Held], Coroutine[Any, Any, None]]) -> None:
    async def playing() -> None:
        store = Held()
        records = Records(store)
        async with asyncio.timeout(20):
            await work(records, store)
            await records.drain()
        records.close()

    asyncio.run(playing())


async def cancelled_during_put(records: Records, store: Held, record: Record) -> None:
    task = asyncio.create_task(records.put(ID, record))
    await asyncio.to_thread(store.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_write_runs_to_its_end_without_its_caller(record: Record) -> None:
    async def work(records: Records, store: Held) -> None:
        await cancelled_during_put(records, store, record)
        assert await records.get(ID, OWNER) is None
        store.go.set()
        await records.drain()
        assert await records.get(ID, OWNER) is not None

    play(work)


def test_what_is_discarded_while_it_is_written_does_not_stay(record: Record) -> None:
    async def work(records: Records, store: Held) -> None:
        await cancelled_during_put(records, store, record)
        records.discard(ID, OWNER)
        await asyncio.sleep(0.02)
        store.go.set()
        await records.drain()
        assert await records.get(ID, OWNER) is None
        assert await records.purge() == Purged(0, 0, 0)

    play(work)


def test_what_is_discarded_is_not_another_requests_record(record: Record) -> None:
    async def work(records: Records, store: Held) -> None:
        store.error = RecordExists("a record has that id already")
        await cancelled_during_put(records, store, record)
        SqliteRecords.put(store, ID, record)
        records.discard(ID, OWNER)
        assert records.is_writing(ID)
        store.go.set()
        await records.drain()
        assert not records.is_writing(ID)
        assert not records.failing
        assert await records.get(ID, OWNER) is not None

    play(work)


def test_a_store_that_fails_is_logged_and_raised(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    async def work(records: Records, store: Held) -> None:
        store.error = RecordsFull("no room")
        store.go.set()
        with pytest.raises(RecordsFull):
            await records.put(ID, record)
        await records.discard(ID, OWNER)

    play(work)
    assert "no room" in caplog.text


def test_without_a_store_nothing_is_kept(record: Record) -> None:
    async def work() -> None:
        records = Records(None)
        await records.put(ID, record)
        assert await records.get(ID, OWNER) is None
        assert not await records.delete(ID, OWNER)
        assert await records.purge() == Purged(0, 0, 0)
        await records.discard(ID, OWNER)
        await records.drain()
        records.close()

    asyncio.run(work())
