"""The store behind the event loop: own threads, a deadline for every call, and writes that always complete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.storage.store import (
    DamagedRecord,
    Purged,
    Record,
    RecordExists,
    RecordsError,
    RecordsFull,
    RecordStore,
    StoredRecord,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_NUM_THREADS = 2
# For a call, including its wait for a thread.
DEADLINE_SECONDS = 4.0
_NO_ID, _NO_OWNER = "0" * 32, ""


class Records:
    """Lives on one event loop. Without a store it keeps nothing.

    Cancelling a caller does not cancel its write. Every call logs and raises :class:`RecordsError` when the store
    fails or does not answer in time. From then on one call at a time tries the store and the others fail at once,
    until one succeeds.
    """

    def __init__(self, store: RecordStore | None) -> None:
        self.store = store
        self.failing = False
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="records")
        self._num_calls = 0
        self._puts: dict[str, asyncio.Task[None]] = {}
        self._discards: set[str] = set()
        self._writes: set[asyncio.Task[Any]] = set()

    async def put(self, id: str, record: Record) -> None:
        """Keep a record. Raises :class:`RecordExists` for an id that is taken, and :class:`RecordsError`."""
        if (store := self.store) is None:
            return
        task = self._puts[id] = self._finish(self._on_thread(lambda: store.put(id, record)))
        task.add_done_callback(lambda _: self._puts.pop(id))
        await asyncio.shield(task)

    def is_writing(self, id: str) -> bool:
        """Whether a record with that id is being written or discarded, possibly after its request has ended."""
        return id in self._puts or id in self._discards

    async def get(self, id: str, owner: str) -> StoredRecord | None:
        """The record, unless it is unknown, another owner's, deleted or expired."""
        if (store := self.store) is None:
            return None
        return await self._on_thread(lambda: store.get(id, owner))

    async def delete(self, id: str, owner: str) -> bool:
        """Delete a record; returns whether this owner had it."""
        if (store := self.store) is None:
            return False
        return await self._on_thread(lambda: store.delete(id, owner))

    async def purge(self) -> Purged:
        """Delete expired records; returns how many were removed since the last call."""
        return Purged(0, 0, 0) if self.store is None else await self._on_thread(self.store.purge)

    def require_working(self) -> None:
        """Raise :class:`RecordsError` while the store fails."""
        if self.failing:
            raise RecordsError("the store of predictions does not answer")

    async def check(self) -> None:
        """Test the store with a call that reads and writes."""
        await self.delete(_NO_ID, _NO_OWNER)

    def discard(self, id: str | None, owner: str) -> asyncio.Future[None]:
        """Delete a record that must not be kept, also while it is being written; completes without a caller.

        None: the record was never written. A failure is logged, and the record then stays until it expires.
        """
        if id is not None:
            self._discards.add(id)
        return asyncio.shield(self._finish(self._discard(id, owner)))

    async def _discard(self, id: str | None, owner: str) -> None:
        if id is None:
            return
        try:
            if (put := self._puts.get(id)) is not None:
                await asyncio.wait([put])
                if isinstance(put.exception(), RecordExists):
                    return  # the record belongs to another request
            await self.delete(id, owner)
        except RecordsError:
            log.error("a prediction that was given up is kept until it expires")
        finally:
            self._discards.discard(id)

    async def drain(self) -> None:
        """Wait for the writes in progress."""
        while self._writes:
            await asyncio.wait(self._writes)

    def close(self) -> None:
        """Close the store and the threads; nothing may be in progress."""
        if self.store is not None:
            self.store.close()
        self._threads.shutdown()

    def _finish(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` in a task that does not end with its caller."""
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def _on_thread(self, function: Callable[[], T]) -> T:
        if self._num_calls:
            self.require_working()
        self._num_calls += 1
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                result = await asyncio.get_running_loop().run_in_executor(self._threads, function)
        except TimeoutError:
            assert self.store is not None
            self.store.interrupt()
            raise self._failed(f"the store of predictions did not answer within {DEADLINE_SECONDS:g} s") from None
        except RecordExists:
            raise
        except (RecordsFull, DamagedRecord) as error:
            log.error("%s", error)
            raise
        except RecordsError as error:
            raise self._failed(str(error)) from error
        finally:
            self._num_calls -= 1
        if self.failing:
            log.warning("the store of predictions works again")
            self.failing = False
        return result

    def _failed(self, reason: str) -> RecordsError:
        """Note that the store does not work, and log it once."""
        if not self.failing:
            log.error("%s", reason)
        self.failing = True
        return RecordsError(reason)
