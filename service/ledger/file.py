"""The ledger on the disk: one SQLite file, appended to and chained by hashes, durable when a call returns.

Each entry is a line of the chain (:mod:`service.audit.chain`) with the digest of a content that stands beside it.
Erasing an entry removes the content and its salt, so that no digest is left to guess it by, and appends a line that
names it: the chain still holds, and a content that is missing without such a line was tampered with.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from service.audit import chain
from service.audit.chain import EMPTY, ChainError, Head, follow, to_line
from service.ledger.entries import Answer, Feedback

Stored = Annotated[Answer | Feedback, Field(discriminator="what")]

_MAGIC = b"SQLite format 3\0"
_VERSION = 1
_APPLICATION = 0x43494E4C  # "CINL"
# What is looked up by is computed from the content, so that it cannot say anything else.
SCHEMA = (
    "CREATE TABLE entries (seq INTEGER PRIMARY KEY, line TEXT NOT NULL, salt TEXT, content TEXT, "
    "client TEXT AS (json_extract(content, '$.client')), id TEXT AS (json_extract(content, '$.id')), "
    "lesion TEXT AS (json_extract(content, '$.lesion'))) STRICT",
    "CREATE INDEX entries_by_id ON entries (client, id)",
    "CREATE INDEX entries_by_lesion ON entries (client, lesion)",
)
_BUSY_SECONDS = 3.0
_STORED: TypeAdapter[Answer | Feedback] = TypeAdapter(Stored)


class LedgerError(RuntimeError):
    """The ledger cannot be used; the text says what to change."""


class LedgerFull(LedgerError):  # noqa: N818 - named for the state
    """There is no room for another entry; nothing was written."""


class NoSuchAnswer(LedgerError):  # noqa: N818 - named for the state
    """Feedback is about an answer that the ledger does not have, or no longer; nothing was written."""


class LedgerFile:
    """A ledger; several processes of one machine may share it.

    Calls block on the disk. Those that write must not overlap in a process; those that read may, in one other thread.
    Every call may raise :class:`LedgerError`.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or create one that only its owner can read."""
        self._path = path
        self._known = EMPTY  # the last line that this process has seen: it must stay
        self._may_have_traces = True  # of a process that was killed before it could overwrite them
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _create(path)
            self._reader, self._writer = self._connect(), self._connect()
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"{path} cannot be opened; set CIN_LEDGER to a file in a folder of yours") from error
        self._reading = threading.Lock()
        with self._told():
            self._prepare(self._writer)
            with self._writing():
                self._known = self._head()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def _prepare(self, database: sqlite3.Connection) -> None:
        # Erased contents are overwritten, and a commit waits for the disk.
        for pragma in ("secure_delete = ON", "synchronous = FULL", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        with self._writing():
            (application,), (version,) = (
                database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            schema = _schema_of(database)
            if not schema and (application, version) == (0, 0):
                for statement in (
                    *SCHEMA,
                    f"PRAGMA application_id = {_APPLICATION}",
                    f"PRAGMA user_version = {_VERSION}",
                ):
                    database.execute(statement)
            elif (application, version) != (_APPLICATION, _VERSION) or schema != SCHEMA:
                raise LedgerError(f"{self._path} is not a ledger of this version; set CIN_LEDGER to another file")
        database.execute("PRAGMA journal_mode = WAL").fetchall()  # readers do not hold up a writer

    def append(self, entry: Answer | Feedback) -> Head:
        """Add an entry: it is on the disk when this returns, and nothing is when it raises.

        Raises :class:`NoSuchAnswer` for feedback on an answer that was erased meanwhile.
        """
        content, salt = entry.model_dump_json(), secrets.token_hex(16)
        with self._told(), self._writing():
            about = "SELECT 1 FROM entries WHERE client = ? AND id = ?"
            if entry.what == "feedback" and not self._writer.execute(about, (entry.client, entry.id)).fetchone():
                raise NoSuchAnswer("there is no such answer")
            line = chain.Entry(entry.what, entry.at, {"content": _digest(salt, content)})
            return self._add(line, salt, content)

    def erase(self, client: str, *, id: str) -> Head | None:
        """Erase the contents of all entries about one prediction; returns the new head, None where there was none."""
        return self._erase("client = ? AND id = ?", (client, id))

    def erase_lesion(self, client: str, lesion: str) -> Head | None:
        """Erase the contents of all entries about a lesion's predictions, feedback included."""
        about = "client = ?1 AND id IN (SELECT id FROM entries WHERE client = ?1 AND lesion = ?2)"
        return self._erase(about, (client, lesion))

    def withdraw(self, head: Head) -> Head | None:
        """Erase the one entry that ended with this head: what it tells of did not reach its client."""
        return self._erase("seq = ? AND content IS NOT NULL", (head.seq,))

    def _erase(self, where: str, values: tuple[object, ...]) -> Head | None:
        with self._told():
            with self._writing():
                found = self._writer.execute(f"SELECT seq FROM entries WHERE {where} ORDER BY seq", values)
                erased = [seq for (seq,) in found]
                if not erased:
                    return None
                self._writer.execute(f"UPDATE entries SET salt = NULL, content = NULL WHERE {where}", values)
                head = self._add(chain.Entry("erasure", datetime.now(UTC), {"entries": erased}), None, None)
            self._overwrite_traces()
        return head

    def _overwrite_traces(self) -> None:
        """Empty the write-ahead log, which may still have what was erased, or stands before what overwrites it.

        While another connection reads, a backup for one, this cannot be done: the next :meth:`check` does it.
        """
        self._may_have_traces = True
        is_busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._may_have_traces = bool(is_busy)

    def of_lesion(self, client: str, lesion: str) -> list[Answer | Feedback]:
        """All about the predictions of a lesion, in the order in which it was written."""
        about = "client = ?1 AND id IN (SELECT id FROM entries WHERE client = ?1 AND lesion = ?2)"
        return self._read(about, (client, lesion))

    def of_prediction(self, client: str, id: str) -> list[Answer | Feedback]:
        """All about one prediction, in the order in which it was written."""
        return self._read("client = ? AND id = ?", (client, id))

    def of_client(self, client: str) -> list[Answer | Feedback]:
        """All of one client, in the order in which it was written."""
        return self._read("client = ?", (client,))

    def everything(self) -> list[Answer | Feedback]:
        """All of all clients, in the order in which it was written."""
        return self._read("content IS NOT NULL", ())

    def _read(self, where: str, values: tuple[object, ...]) -> list[Answer | Feedback]:
        with self._told(), self._reading:
            self._require_same_file()
            rows = self._reader.execute(f"SELECT content FROM entries WHERE {where} ORDER BY seq", values).fetchall()
        return [parse(content) for (content,) in rows]

    def check(self) -> None:
        """Raise unless the file is still the one that was opened, and can be locked for writing."""
        with self._told():
            with self._writing():
                self._head()
            if self._may_have_traces:
                self._overwrite_traces()

    def rows(self) -> Iterator[tuple[int, str, str | None, str | None]]:
        """Number, line, salt and content of every entry, for :func:`service.ledger.verification.verify`."""
        with self._told(), self._reading:
            if _schema_of(self._reader) != SCHEMA:
                raise LedgerError(f"{self._path}: its tables are not those that the service made")
            damage = self._reader.execute("PRAGMA integrity_check").fetchone()
            if damage != ("ok",):
                raise LedgerError(f"{self._path} is damaged: {damage[0]}")
            yield from self._reader.execute("SELECT seq, line, salt, content FROM entries ORDER BY seq")

    def close(self) -> None:
        """Close the file."""
        for database in (self._reader, self._writer):
            database.interrupt()
            with suppress(sqlite3.Error):
                database.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that no other writer interrupts; rolled back when its block raises."""
        self._require_same_file()
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise

    def _add(self, entry: chain.Entry, salt: str | None, content: str | None) -> Head:
        line, head = to_line(entry, self._head())
        row = (head.seq, line.decode("ascii").rstrip("\n"), salt, content)
        self._writer.execute("INSERT INTO entries (seq, line, salt, content) VALUES (?, ?, ?, ?)", row)
        self._known = head
        return head

    def _head(self) -> Head:
        """The end of the chain, which still has the line that this process knows."""
        known = self._known
        if known != EMPTY:
            found = self._writer.execute("SELECT line FROM entries WHERE seq = ?", (known.seq,)).fetchone()
            if found is None or not _is_line_of(found[0], known):
                raise LedgerError(f"{self._path} is not the ledger that was written; see cin audit verify --ledger")
        last = self._writer.execute("SELECT line FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return EMPTY if last is None else follow(f"{last[0]}\n".encode(), None)

    def _require_same_file(self) -> None:
        try:
            same = os.path.samestat(self._path.stat(), self._file)
        except OSError:
            same = False
        if not same:
            raise LedgerError(f"{self._path} was removed or replaced; put it back and restart the service")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns SQLite's errors into ours, whose texts quote nothing that is kept."""
        known = self._known
        try:
            yield
        except (sqlite3.Error, ChainError) as error:
            self._known = known
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                raise LedgerFull(f"there is no room for {self._path}; free disk space") from error
            raise LedgerError(f"{self._path} cannot be used ({error}); see cin audit verify --ledger") from error
        except BaseException:
            self._known = known
            raise


def _create(path: Path) -> os.stat_result:
    """Create the file, unless it is there; returns what it is. Raises OSError for what SQLite would write over."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or os.pread(file, len(_MAGIC), 0) not in (b"", _MAGIC):
            raise OSError(errno.EINVAL, "it is no database")
        return status
    finally:
        os.close(file)


def _digest(salt: str, content: str) -> str:
    return hashlib.sha256(f"{salt}{content}".encode()).hexdigest()


def is_content_of(line: str, salt: str | None, content: str) -> bool:
    """Whether a content is the one that its line was written with."""
    return bool(json.loads(line).get("content") == _digest(salt or "", content))


def _is_line_of(line: str, head: Head) -> bool:
    return f"{line}\n".encode().endswith(head.tail())


def parse(content: str) -> Answer | Feedback:
    """The entry of a content. Raises :class:`LedgerError`."""
    try:
        return _STORED.validate_json(content)
    except ValidationError:  # its message quotes the content
        raise LedgerError("the ledger has an entry that this version does not know; see cin audit verify") from None


def _schema_of(database: sqlite3.Connection) -> Sequence[str]:
    found = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    return tuple(sql for (sql,) in found)
