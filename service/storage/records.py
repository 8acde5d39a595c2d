"""The store off the event loop: on threads of its own, each write run to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.storage.store import Purged, Record, RecordsError, RecordStore, StoredRecord

log = logging.getLogger(__name__)

T = TypeVar("T")

_NUM_THREADS = 2


class Records:
    """Lives on one event loop. Without a store it keeps nothing.

    Cancelling a caller does not stop a write half-way. Every call logs and raises :class:`RecordsError` when the store
    does not work.
    """

    def __init__(self, store: RecordStore | None) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="records")
        self._puts: dict[str, asyncio.Task[None]] = {}
        self._writes: set[asyncio.Task[Any]] = set()

    async def put(self, id: str, record: Record) -> None:
        """Keep a record."""
        if (store := self.store) is None:
            return
        task = self._puts[id] = self._finish(self._on_thread(lambda: store.put(id, record)))
        task.add_done_callback(lambda _: self._puts.pop(id))
        await asyncio.shield(task)

    async def get(self, id: str, owner: str) -> StoredRecord | None:
        """The record, unless it is unknown, another owner's, deleted or expired."""
        if (store := self.store) is None:
            return None
        return await self._on_thread(lambda: store.get(id, owner))

    async def delete(self, id: str, owner: str) -> bool:
        """Delete a record; whether there was one of this owner."""
        if (store := self.store) is None:
            return False
        return await self._on_thread(lambda: store.delete(id, owner))

    async def purge(self) -> Purged:
        """Delete expired records; how many went since the last call."""
        return Purged(0, 0, 0) if self.store is None else await self._on_thread(self.store.purge)

    def discard(self, id: str | None, owner: str) -> asyncio.Future[None]:
        """Delete a record that must not stay, also one that is still being put; runs to its end without a caller.

        None stands for a record that was never put. A store that fails is logged: the record then stays until it
        expires.
        """
        return asyncio.shield(self._finish(self._discard(id, owner)))

    async def _discard(self, id: str | None, owner: str) -> None:
        if id is None:
            return
        if (put := self._puts.get(id)) is not None:
            await asyncio.wait([put])
        try:
            await self.delete(id, owner)
        except RecordsError:
            log.error("a prediction that was given up is kept until it expires")

    async def drain(self) -> None:
        """Wait for the writes in progress."""
        while self._writes:
            await asyncio.wait(self._writes)

    def close(self) -> None:
        """Release the threads and the store; nothing may be in progress."""
        self._threads.shutdown()
        if self.store is not None:
            self.store.close()

    def _finish(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` to its end, whatever becomes of its caller."""
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def _on_thread(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        except RecordsError as error:
            log.error("%s", error)
            raise
