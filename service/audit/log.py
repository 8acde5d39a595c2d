"""What happened, written down before it is answered: entries of all requests together, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.audit.chain import Entry
from service.audit.file import AuditFile, AuditWriteError
from service.metrics import Metrics
from service.settings import WhenFull

log = logging.getLogger(__name__)

# Some five megabytes of memory.
_MAX_SPOOLED = 10_000


class AuditLog:
    """The log as requests see it; lives on one event loop. Without a file it takes everything and keeps nothing.

    Whatever was recorded while the disk was busy goes to it together, so that waiting for the disk costs one request as
    much as a hundred.
    """

    def __init__(self, file: AuditFile | None, *, when_full: WhenFull, metrics: Metrics) -> None:
        self._file, self._when_full, self._metrics = file, when_full, metrics
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._spooled: list[Entry] = []
        self._writing: asyncio.Task[None] | None = None
        self._refusing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        metrics.audit_chain_ok.set(1)
        if file is not None:
            metrics.audit_free_bytes.set(file.free_bytes())

    @property
    def refusing(self) -> bool:
        """Whether the last entry was refused, and with it what it was about."""
        return self._refusing

    async def record(self, what: str, **details: Any) -> None:
        """Returns when the entry is on the disk, or spooled. Raises :class:`AuditError`: then it did not happen."""
        if self._file is not None:
            await self._take(self._file, Entry.now(what, **details))

    def note(self, what: str, **details: Any) -> None:
        """Record something that nobody waits for any more."""
        if self._file is not None:
            # A failure is in the service's log, and counted.
            self._take(self._file, Entry.now(what, **details)).add_done_callback(lambda done: done.exception())

    def _take(self, file: AuditFile, entry: Entry) -> asyncio.Future[None]:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(file))
        return written

    async def write_spooled(self) -> None:
        """Try again to write what waits for the disk, or anything, and see how much room is left there."""
        if self._file is None:
            return
        try:
            free = await asyncio.get_running_loop().run_in_executor(self._thread, self._file.free_bytes)
            self._metrics.audit_free_bytes.set(free)
        except OSError as error:
            log.error("the audit log's folder: %s", error.strerror)
        if (self._spooled or self._refusing) and self._writing is None:
            self._writing = asyncio.create_task(self._write_all(self._file))
            # Whoever gives up waiting does not stop it half-way.
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Write what is left, and release the file."""
        if self._writing is not None:
            await self._writing
        await self.write_spooled()
        if self._spooled:
            log.error("%d entries of the audit log are lost: they could not be written", len(self._spooled))
        self._thread.shutdown()
        if self._file is not None:
            self._file.close()

    async def _write_all(self, file: AuditFile) -> None:
        """Write once, and as long as there is more."""
        try:
            await self._write(file)
            while self._waiting:
                await self._write(file)
        finally:
            self._writing = None

    async def _write(self, file: AuditFile) -> None:
        batch, self._waiting = self._waiting, []
        new = [entry for entry, _ in batch]
        late = [Entry.now("spooled", entries=len(self._spooled))] if self._spooled else []
        # Nothing waits when it is tried whether there is room again: an entry tells, and says so.
        entries = [*late, *self._spooled, *new] or [Entry.now("writable-again")]
        refused: Exception | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, file.append, entries)
        except Exception as error:
            self._metrics.audit_chain_ok.set(0)
            if self._may_spool(error, len(new)):
                self._spooled += new
                self._metrics.audit_entries.labels("spooled").inc(len(new))
                log.error("%s; %d entries wait in memory", error, len(self._spooled))
            else:
                refused = error
                self._metrics.audit_entries.labels("refused").inc(len(new))
                log.error("%s; nothing is answered without it", error)
        else:
            self._spooled.clear()
            self._metrics.audit_chain_ok.set(1)
            self._metrics.audit_entries.labels("written").inc(len(entries))
        self._refusing = refused is not None
        self._metrics.audit_spooled.set(len(self._spooled))
        for _, written in batch:
            if written.done():  # nobody waits for it any more
                continue
            if refused is None:
                written.set_result(None)
            else:
                written.set_exception(refused)

    def _may_spool(self, error: Exception, num: int) -> bool:
        fits = len(self._spooled) + num <= _MAX_SPOOLED
        return self._when_full == "spool" and isinstance(error, AuditWriteError) and fits
