"""The audit log as requests use it: an entry is on the disk before its answer is sent.

The entries' format and hash chain are in :mod:`service.audit.chain`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.audit.chain import Entry
from service.audit.file import AuditFile
from service.metrics import Metrics

log = logging.getLogger(__name__)


class AuditLog:
    """Writes entries in groups; lives on one event loop. Without a file, every entry is accepted and dropped.

    Entries that arrive during a write are written together in the next one, so a hundred requests wait as long as
    one.
    """

    def __init__(self, file: AuditFile | None, *, metrics: Metrics) -> None:
        self._file, self._metrics = file, metrics
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._refusing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        metrics.audit_chain_ok.set(1)
        if file is not None:
            metrics.audit_free_bytes.set(file.free_bytes())

    @property
    def refusing(self) -> bool:
        """Whether the last write failed, and its requests were refused."""
        return self._refusing

    async def record(self, what: str, **details: Any) -> None:
        """Write an entry; it is on the disk when this returns. On :class:`AuditError` nothing was written."""
        if self._file is not None:
            await self._add(self._file, Entry.now(what, **details))

    def note(self, what: str, **details: Any) -> None:
        """Write an entry without waiting for it. A failure is logged and counted."""
        if self._file is not None:
            self._add(self._file, Entry.now(what, **details)).add_done_callback(lambda done: done.exception())

    def _add(self, file: AuditFile, entry: Entry) -> asyncio.Future[None]:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(file))
        return written

    def log_head(self) -> None:
        """Write the head to the process's log; a rewritten audit log contradicts it."""
        if self._file is not None:
            log.info("the audit log's head is %s", self._file.head)

    async def check_disk(self) -> None:
        """Measure the free space and check the file; after a failed write, try to write again."""
        if self._file is None:
            return
        try:
            free = await asyncio.get_running_loop().run_in_executor(self._thread, self._file.free_bytes)
            self._metrics.audit_free_bytes.set(free)
        except OSError as error:
            log.error("the audit log's folder: %s", error.strerror)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(self._file))
            await asyncio.shield(self._writing)  # cancelling the caller must not stop a write

    async def close(self) -> None:
        """Finish writing and release the file."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()
        if self._file is not None:
            self._file.close()

    async def _write_all(self, file: AuditFile) -> None:
        """Write until nothing waits; at least once, to check the file."""
        try:
            await self._write(file)
            while self._waiting:
                await self._write(file)
        finally:
            self._writing = None

    async def _write(self, file: AuditFile) -> None:
        group, self._waiting = self._waiting, []
        entries = [entry for entry, _ in group]
        if not entries and self._refusing:  # a trial
            entries = [Entry.now("writable-again")]
        refused: Exception | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, file.append, entries)
        except Exception as error:
            refused = error
            self._metrics.audit_entries.labels("refused").inc(len(group))
            log.error("%s; requests that need an entry are refused", error)
        else:
            self._metrics.audit_entries.labels("written").inc(len(entries))
        self._refusing = refused is not None
        self._metrics.audit_chain_ok.set(not self._refusing)
        for _, written in group:
            if written.done():  # its request was cancelled
                continue
            if refused is None:
                written.set_result(None)
            else:
                written.set_exception(refused)
