"""Records in SQLite, in memory or in one file: for a single service process."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from service.storage.maps import pack_maps
from service.storage.store import Purged, Record, RecordExists, RecordsError, RecordsFull, StoredRecord, client_of

_VERSION = 1  # of the table; records of another version are dropped
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS records (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, size INTEGER NOT NULL,
        prediction TEXT NOT NULL, maps BLOB NOT NULL
    ) STRICT
    """,
    # Indexes that cover the queries for expired and excess records, so these read no record.
    "CREATE INDEX IF NOT EXISTS records_by_age ON records (created)",
    "CREATE INDEX IF NOT EXISTS records_by_owner ON records (owner, created, size)",
)

_CLIENT = "substr(owner, 1, instr(owner || ':', ':') - 1)"  # as client_of
# The oldest record of the client that holds most, counting what it is about to store.
_EVICT = f"""
DELETE FROM records WHERE rowid = (
    SELECT rowid FROM records WHERE {_CLIENT} = (
        SELECT {_CLIENT} FROM records GROUP BY {_CLIENT} ORDER BY sum(size) + iif({_CLIENT} = ?, ?, 0) DESC LIMIT 1
    ) ORDER BY created LIMIT 1
)
"""

# The system clock may be set back by this much without losing newer records.
_CLOCK_SECONDS = 60.0


class SqliteRecords:
    """Records in one SQLite file; without a ``folder``, in the memory of this process."""

    def __init__(
        self,
        folder: Path | None,
        *,
        ttl_seconds: float,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ttl, self._max_bytes, self._clock = ttl_seconds, max_bytes, clock
        self._expired = self._made_room = 0
        self._path = None if folder is None else folder / "records.sqlite"
        self._lock = threading.Lock()
        try:
            if self._path is not None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._path.touch(mode=0o600)
            where = self._path or ":memory:"
            self._database = sqlite3.connect(where, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise RecordsError(f"cannot write to {folder}; set CIN_RECORDS_FOLDER to a folder") from error
        # Deleted records are overwritten, and no journal keeps a copy on the disk. The price: a power cut may lose
        # records, which are temporary anyway.
        pragmas = ("secure_delete = ON", "journal_mode = MEMORY", "synchronous = OFF", "temp_store = MEMORY")
        for pragma in pragmas:
            self._execute(f"PRAGMA {pragma}")
        if self._execute("PRAGMA user_version").fetchone() != (_VERSION,):
            self._execute("DROP TABLE IF EXISTS records")
            self._execute(f"PRAGMA user_version = {_VERSION}")
        for statement in _SCHEMA:
            self._execute(statement)

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            where = "the memory for predictions" if self._path is None else str(self._path)
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise RecordsFull(f"there is no room for {where}; free disk space") from error
            raise RecordsError(f"{where} cannot be used ({error}); free disk space, or delete it") from error

    def put(self, id: str, record: Record) -> None:
        """See :class:`RecordStore`."""
        maps = pack_maps(record.maps)
        size = len(maps) + len(record.prediction)
        with self._lock:
            self._purge()
            self._make_room(record.owner, size)
            row = (id, record.owner, self._clock(), size, record.prediction, maps)
            if not self._execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
                raise RecordExists("a record has that id already")

    def get(self, id: str, owner: str) -> StoredRecord | None:
        """See :class:`RecordStore`."""
        with self._lock:
            query = "SELECT prediction, maps FROM records WHERE id = ? AND owner = ? AND created BETWEEN ? AND ?"
            row = self._execute(query, (id, owner, *self._alive())).fetchone()
        return StoredRecord(*row) if row else None

    def delete(self, id: str, owner: str) -> bool:
        """See :class:`RecordStore`."""
        with self._lock:
            self._purge()
            return self._execute("DELETE FROM records WHERE id = ? AND owner = ?", (id, owner)).rowcount > 0

    def purge(self) -> Purged:
        """See :class:`RecordStore`."""
        with self._lock:
            self._purge()
            (kept,) = self._execute("SELECT count(*) FROM records").fetchone()
            purged = Purged(self._expired, self._made_room, kept)
            self._expired = self._made_room = 0
        return purged

    def _purge(self) -> None:
        gone = self._execute("DELETE FROM records WHERE created NOT BETWEEN ? AND ?", self._alive())
        self._expired += gone.rowcount

    def _make_room(self, owner: str, size: int) -> None:
        while True:
            (total,) = self._execute("SELECT coalesce(sum(size), 0) FROM records").fetchone()
            if not total or total + size <= self._max_bytes:
                return
            self._made_room += self._execute(_EVICT, (client_of(owner), size)).rowcount

    def _alive(self) -> tuple[float, float]:
        """Earliest and latest creation time of live records; later ones were made before the clock was set back."""
        now = self._clock()
        return math.nextafter(now - self._ttl, math.inf), now + _CLOCK_SECONDS

    def interrupt(self) -> None:
        """See :class:`RecordStore`."""
        self._database.interrupt()

    def close(self) -> None:
        """See :class:`RecordStore`."""
        self.interrupt()
        with self._lock:
            self._database.close()
