"""The ledger behind the event loop: one thread that writes, one that reads, and a deadline for every call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.audit.chain import Head
from service.ledger.entries import Answer, Feedback
from service.ledger.file import LedgerError, LedgerFile, LedgerFull, NoSuchAnswer

log = logging.getLogger(__name__)

T = TypeVar("T")

# For a call, including its wait for the thread. A disk that is well takes milliseconds; a client's whole ledger is read
# in a second for each 30,000 answers.
DEADLINE_SECONDS = 5.0
READ_SECONDS = 20.0


class Ledger:
    """Lives on one event loop. Without a file it keeps nothing, and :attr:`kept` is False.

    An entry whose caller left, or was told that it failed, is withdrawn as soon as it is written. Every call logs and
    raises :class:`LedgerError` when the file fails; while a call hangs, every other one fails at once.
    """

    def __init__(self, file: LedgerFile | None) -> None:
        self._file = file
        self.failing = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ledger-read")
        self._hanging: set[ThreadPoolExecutor] = set()
        self._working: set[asyncio.Future[Any]] = set()

    @property
    def kept(self) -> bool:
        """Whether there is a ledger."""
        return self._file is not None

    async def add(self, entry: Answer | Feedback) -> Head | None:
        """Write an entry; it is on the disk when this returns. None: there is no ledger."""
        if (file := self._file) is None:
            return None
        return await self._call(self._writer, lambda: file.append(entry), undo=self.withdraw)

    def withdraw(self, head: Head | None) -> asyncio.Future[None]:
        """Erase the entry that ended with this head; completes without a caller. None: it was never written.

        A failure is logged, and the entry then stays.
        """
        return asyncio.shield(self._keep(asyncio.create_task(self._withdraw(head))))

    async def _withdraw(self, head: Head | None) -> None:
        if (file := self._file) is None or head is None:
            return
        try:
            await self._start(self._writer, lambda: file.withdraw(head))
        except LedgerError:
            log.error("an answer that was given up is still in the ledger")

    async def erase(self, work: Callable[[LedgerFile], Head | None]) -> Head | None:
        """The result of ``work``, one of the file's erasures, which is finished even when its caller leaves.

        None: nothing was there, or there is no ledger.
        """
        if (file := self._file) is None:
            return None
        return await self._call(self._writer, lambda: work(file))

    async def read(self, work: Callable[[LedgerFile], T]) -> T:
        """The result of ``work``, which only reads the file."""
        if (file := self._file) is None:
            raise LedgerError("there is no ledger; set CIN_LEDGER")
        return await self._call(self._reader, lambda: work(file))

    async def check(self) -> None:
        """Test the file with a call that locks it for writing."""
        if (file := self._file) is not None:
            await self._call(self._writer, file.check)

    async def close(self) -> None:
        """Finish what was begun, and close the file."""
        while self._working:
            await asyncio.wait(self._working)
        for thread in (self._writer, self._reader):
            thread.shutdown()
        if self._file is not None:
            self._file.close()

    def _start(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
        return self._keep(asyncio.get_running_loop().run_in_executor(thread, work))

    def _keep(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """Count the work among what :meth:`close` waits for."""
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return future

    async def _call(
        self, thread: ThreadPoolExecutor, work: Callable[[], T], undo: Callable[[T], object] = lambda result: None
    ) -> T:
        if thread in self._hanging:
            raise LedgerError("the ledger's disk does not answer")
        future = self._start(thread, work)
        seconds = DEADLINE_SECONDS if thread is self._writer else READ_SECONDS
        try:
            async with asyncio.timeout(seconds):
                result = await asyncio.shield(future)
        except (TimeoutError, asyncio.CancelledError) as error:
            future.add_done_callback(lambda done: None if done.exception() else undo(done.result()))
            if isinstance(error, asyncio.CancelledError):
                raise
            self._hanging.add(thread)
            future.add_done_callback(lambda _: self._hanging.discard(thread))
            raise self._failed(thread, f"the ledger's disk did not answer within {seconds:g} s") from None
        except NoSuchAnswer:
            raise
        except LedgerFull as error:
            log.error("%s", error)
            raise
        except LedgerError as error:
            raise self._failed(thread, str(error)) from error
        if self.failing and thread is self._writer:
            log.warning("the ledger works again")
            self.failing = False
        return result

    def _failed(self, thread: ThreadPoolExecutor, reason: str) -> LedgerError:
        """Log the failure once; one of writing makes the service not ready."""
        if not self.failing:
            log.error("%s", reason)
        self.failing |= thread is self._writer
        return LedgerError(reason)
