"""The audit log on the disk: whole lines, in order, durable when a call returns; one writer at a time.

Several processes of one machine may write to one log. A writer takes the lock, verifies the lines that others appended
since, and removes a line that a crash left half-written; the next entry records that.

A writer also knows where the log ended. When the file is no longer the one it wrote (removed, replaced, truncated,
changed at its end), it moves the file aside, starts a new one that continues the chain with an entry about the gap, and
accepts no more entries.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from service.audit.chain import EMPTY, ChainError, Entry, Head, follow, to_line

MAX_BYTES = 32 * 2**20
_LOCK_SECONDS = 10.0
_GAP = "gap"
# Bytes of an entry that is looked at alone: the first one after a start may name every key of a large file.
_LONGEST_LINE = 16 * 2**20


class AuditError(RuntimeError):
    """The audit log cannot be used; the text says what to change."""


class AuditWriteError(AuditError):
    """The log is intact but cannot be appended to, mostly because the disk is full."""


class AuditFile:
    """A log whose newest part is ``path``; older parts are in the same folder, named after their first entry.

    Calls block on the disk and must not overlap within a process. Every call may raise :class:`AuditError`.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Verify the existing file, or create one."""
        self._path, self._max_bytes = path, max_bytes
        self._file: int | None = None
        self._head, self._end = EMPTY, 0
        # Heads of lines whose write was refused, but which may be in the file.
        self._refused: set[Head] = set()
        # Numbers of refused lines that are in the chain after all.
        self._void: list[int] = []
        # Before the existing file was verified, there is no known end to compare it with.
        self._knows_end = False
        # Why the file is no longer the one that was written, and whether that was recorded.
        self._gap: str | None = None
        self._recorded_gap = False
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise AuditWriteError(self._said(error)) from error
        self._lock = FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
        self.append(())
        self._knows_end = True

    @property
    def head(self) -> Head:
        """The end of the chain, as far as this process knows."""
        return self._head

    def free_bytes(self) -> int:
        """Free bytes of the log's file system."""
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries: all are on the disk when this returns, none when it raises.

        Without entries, check the file.
        """
        try:
            # Another writer is done within milliseconds.
            with self._lock.acquire(poll_interval=0.002):
                torn = self._catch_up_or_record_gap()
                if self._end >= self._max_bytes:
                    self._begin_next()
                cut = [Entry.now("torn-line-cut", bytes=torn)] if torn else []
                # Other writers may have continued the chain from them, so they are declared void instead of removed.
                void = [Entry.now("entries-void", entries=list(self._void))] if self._void else []
                self._write([*cut, *void, *entries])
                self._refused.clear()
                self._void.clear()
        except ChainError as error:
            raise AuditError(self._explained(error)) from error
        except Timeout as error:
            raise AuditWriteError(f"{self._path} is held by another process; is it stuck?") from error
        except OSError as error:
            raise AuditWriteError(self._said(error)) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _explained(self, error: ChainError) -> str:
        fault = f"{self._path} is not the log that was written ({error.reason})"
        if self._gap is None:
            return f"{fault}; see cin audit verify, and move the file away and restart the service to begin another"
        return f"{fault}; another was begun that says so: see cin audit verify, and restart the service"

    def _said(self, error: OSError) -> str:
        return f"{self._path} cannot be written ({error.strerror}); free disk space, or set CIN_AUDIT to another file"

    def _last_before(self) -> Head:
        """The last head of the newest older file, which a new file continues."""
        stem, suffix = glob.escape(self._path.stem), glob.escape(self._path.suffix)
        older = sorted(self._path.parent.glob(f"{stem}-{'[0-9]' * 12}{suffix}"))
        head: Head | None = None
        if older:
            with older[-1].open("rb") as file:
                for line in file:
                    head = follow(line, head)
        return head or EMPTY

    def _catch_up_or_record_gap(self) -> int:
        """:meth:`_catch_up`; once the file is not the one that was written, every call raises :class:`ChainError`."""
        if self._gap is None:
            try:
                return self._catch_up()
            except ChainError as error:
                if not self._knows_end:
                    raise
                self._gap = error.reason
        if not self._recorded_gap and not self._another_recorded_gap():
            self._record_gap(self._gap)
        self._recorded_gap = True
        raise ChainError(self._gap)

    def _another_recorded_gap(self) -> bool:
        """Whether another writer has recorded the gap: the file at the path begins with a later entry about it."""
        try:
            line = _first_line(self._path)
            return follow(line, None).seq > self._head.seq and json.loads(line).get("what") == _GAP
        except ChainError:
            return False

    def _record_gap(self, reason: str) -> None:
        """Move the file at the path aside, and continue the chain in a new file with an entry about the gap."""
        # With another suffix, so that a pattern for the log's files does not match it.
        aside = self._path.with_name(f"{self._path.stem}-{time.time_ns()}.damaged")
        with suppress(FileNotFoundError):
            self._path.rename(aside)
        self.close()
        self._create()
        moved = {"moved_to": aside.name} if aside.exists() else {}
        self._write([Entry.now(_GAP, reason=reason, **moved)])

    def _catch_up(self) -> int:
        """Verify what was appended since, and remove a half-written line; returns the bytes removed."""
        if self._file is not None and not self._is_current(self._file):
            self._read_on(self._file)
            if not self._was_put_aside(self._file):
                raise ChainError("it was removed or replaced")
            self.close()
        if self._file is None:
            if self._head == EMPTY:
                self._head = self._last_before()
            new = not self._path.exists()
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            self._end = 0
            if new:
                self._sync_folder()
            elif self._knows_end and _first_seq(self._file) > self._head.seq + 1:
                self._head = self._last_before()  # other writers have filled a whole file
        torn = self._read_on(self._file)
        if torn:
            os.ftruncate(self._file, self._end)
        return torn

    def _is_current(self, file: int) -> bool:
        """Whether the path still is the open file, not one that another writer started."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file))
        except FileNotFoundError:
            return False

    def _was_put_aside(self, file: int) -> bool:
        """Whether a writer renamed the full file, or the file at the path continues it."""
        with suppress(FileNotFoundError):
            if os.path.samestat(self._aside(file).stat(), os.fstat(file)):
                return True
        try:
            follow(_first_line(self._path), self._head)
        except ChainError:
            return False
        return True

    def _aside(self, file: int) -> Path:
        """The path for a full file."""
        return self._path.with_name(f"{self._path.stem}-{_first_seq(file):012d}{self._path.suffix}")

    def _read_on(self, file: int) -> int:
        """Follow the chain from its last known end; returns the number of bytes after the last whole line."""
        size = os.fstat(file).st_size
        if size < self._end:
            raise ChainError("its end was cut off")
        tail = self._head.tail()
        if self._end and os.pread(file, len(tail), self._end - len(tail)) != tail:
            raise ChainError("its last entry is another")
        if size == self._end:
            return 0
        # The first entry may continue files that are not there, for instance archived ones.
        archived = not self._knows_end and self._end == 0
        archived = archived and (self._head == EMPTY or _first_seq(file) > self._head.seq + 1)
        head: Head | None = None if archived else self._head
        with open(os.dup(file), "rb") as reader:  # noqa: PTH123
            reader.seek(self._end)
            for line in reader:
                if not line.endswith(b"\n"):
                    return len(line)
                head = follow(line, head)
                self._head, self._end = head, self._end + len(line)
                if head in self._refused:
                    self._void.append(head.seq)
        return 0

    def _begin_next(self) -> None:
        """Rename the full file and start the next one, which continues its chain."""
        assert self._file is not None
        self._path.rename(self._aside(self._file))
        self.close()
        self._create()

    def _create(self) -> None:
        """Create an empty file."""
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._end = 0
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, entries: Sequence[Entry]) -> None:
        """Append all entries and wait for the disk; a partial write is undone."""
        assert self._file is not None
        if not entries:
            return
        head, lines, heads = self._head, bytearray(), set()
        for entry in entries:
            line, head = to_line(entry, head)
            lines += line
            heads.add(head)
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._file, memoryview(lines)[written:])
            os.fdatasync(self._file)
        except OSError:
            self._refused |= heads
            os.ftruncate(self._file, self._end)
            self._refused -= heads
            raise
        self._head, self._end = head, self._end + len(lines)


def _first_line(path: Path) -> bytes:
    """Nothing for what is no regular file: a pipe would be waited for without end."""
    with suppress(FileNotFoundError):
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                return file.readline(_LONGEST_LINE)
    return b""


def _first_seq(file: int) -> int:
    """The number of the file's first entry; 0 when it has none."""
    match = re.match(rb'\{"seq":([0-9]{1,18}),', os.pread(file, 32, 0))
    return int(match[1]) if match else 0
