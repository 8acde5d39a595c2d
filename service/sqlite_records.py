"""Records in one SQLite file: for a service that runs alone."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from service.records import Record, RecordsError, RecordsFull, pack_maps, unpack_maps

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS records (
        id TEXT PRIMARY KEY, created REAL NOT NULL, size INTEGER NOT NULL, prediction TEXT NOT NULL, maps BLOB NOT NULL
    ) STRICT
    """,
    # What is too old or too much is found here, without a look at any record.
    "CREATE INDEX IF NOT EXISTS records_by_age ON records (created DESC, id, size)",
)

# By how much the system's clock may be set back without costing the records made since.
_CLOCK_SECONDS = 60.0


class SqliteRecords:
    """Records in one SQLite file. Without a ``folder`` of its own it lives, and ends, with this process."""

    def __init__(
        self,
        folder: Path | None,
        *,
        ttl_seconds: float,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ttl, self._max_bytes, self._clock = ttl_seconds, max_bytes, clock
        self._own_folder = Path(tempfile.mkdtemp(prefix="cin-records-")) if folder is None else None
        self._path = (folder or self._own_folder or Path()) / "records.sqlite"
        self._lock = threading.Lock()
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise RecordsError(f"cannot write to {self._path.parent}; set CIN_RECORDS_FOLDER to a folder") from error
        # What is deleted is overwritten, not just forgotten, and no journal keeps a copy of it on the disk. In return
        # a power cut may cost the records, which were temporary anyway.
        pragmas = ("PRAGMA secure_delete = ON", "PRAGMA journal_mode = MEMORY", "PRAGMA synchronous = OFF")
        for statement in (*pragmas, *_SCHEMA):
            self._execute(statement)

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise RecordsFull(f"there is no room for {self._path}; free disk space") from error
            raise RecordsError(f"{self._path} cannot be used ({error}); free disk space, or delete it") from error

    def put(self, id: str, record: Record) -> None:
        """See :class:`RecordStore`."""
        maps = pack_maps(record.maps)
        size = len(maps) + len(record.prediction)
        with self._lock:
            self._purge(room_for=size)
            row = (id, self._clock(), size, record.prediction, maps)
            self._execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", row)

    def get(self, id: str) -> Record | None:
        """See :class:`RecordStore`."""
        with self._lock:
            query = "SELECT prediction, maps FROM records WHERE id = ? AND created BETWEEN ? AND ?"
            row = self._execute(query, (id, *self._alive())).fetchone()
        return Record(row[0], unpack_maps(row[1])) if row else None

    def delete(self, id: str) -> bool:
        """See :class:`RecordStore`."""
        with self._lock:
            self._purge(room_for=0)
            return self._execute("DELETE FROM records WHERE id = ?", (id,)).rowcount > 0

    def purge(self) -> None:
        """See :class:`RecordStore`."""
        with self._lock:
            self._purge(room_for=0)

    def _purge(self, *, room_for: int) -> None:
        self._execute("DELETE FROM records WHERE created NOT BETWEEN ? AND ?", self._alive())
        (total,) = self._execute("SELECT coalesce(sum(size), 0) FROM records").fetchone()
        if total + room_for <= self._max_bytes:
            return
        self._execute(
            "DELETE FROM records WHERE id IN (SELECT id FROM ("
            "SELECT id, sum(size) OVER (ORDER BY created DESC, id) AS newer FROM records) WHERE newer > ?)",
            (self._max_bytes - room_for,),
        )

    def _alive(self) -> tuple[float, float]:
        """When a record was made that is still kept. A clock set back must not keep it for that much longer."""
        now = self._clock()
        return math.nextafter(now - self._ttl, math.inf), now + _CLOCK_SECONDS

    def close(self) -> None:
        """Close the file, and delete it when it was this process's own."""
        with self._lock:
            self._database.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
