"""Predictions kept for a while, so that their overlays can be drawn; the uploaded bytes are never among them."""

from __future__ import annotations

import io
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from service.overlay import AttentionMaps

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, created REAL NOT NULL, size INTEGER NOT NULL, prediction TEXT NOT NULL, maps BLOB NOT NULL
) STRICT
"""


@dataclass(frozen=True)
class Record:
    """A prediction: the JSON that was answered, and what overlays are drawn from."""

    prediction: str
    maps: AttentionMaps


class RecordStore(Protocol):
    """Where records live. Calls may block on a disk or a network: keep them off the event loop."""

    def put(self, id: str, record: Record) -> None:
        """Keep a record; the oldest make room when the byte budget is exceeded."""

    def get(self, id: str) -> Record | None:
        """The record, unless it is unknown, deleted or past its time."""

    def delete(self, id: str) -> bool:
        """Delete at once and for good; whether there was one."""

    def close(self) -> None:
        """Release what the store holds."""


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
        place = folder or self._own_folder
        assert place is not None
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(place / "records.sqlite", check_same_thread=False, isolation_level=None)
        # Deleted predictions are overwritten, not just forgotten. Nothing here needs to survive a power cut.
        self._database.execute("PRAGMA secure_delete = ON")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_SCHEMA)

    def put(self, id: str, record: Record) -> None:
        """See :class:`RecordStore`."""
        maps = pack_maps(record.maps)
        size = len(maps) + len(record.prediction)
        with self._lock:
            self._purge(room_for=size)
            row = (id, self._clock(), size, record.prediction, maps)
            self._database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", row)

    def get(self, id: str) -> Record | None:
        """See :class:`RecordStore`."""
        with self._lock:
            query = "SELECT prediction, maps FROM records WHERE id = ? AND created > ?"
            row = self._database.execute(query, (id, self._clock() - self._ttl)).fetchone()
        return Record(row[0], unpack_maps(row[1])) if row else None

    def delete(self, id: str) -> bool:
        """See :class:`RecordStore`."""
        with self._lock:
            self._purge(room_for=0)
            return self._database.execute("DELETE FROM records WHERE id = ?", (id,)).rowcount > 0

    def purge(self) -> None:
        """Delete what is past its time."""
        with self._lock:
            self._purge(room_for=0)

    def _purge(self, *, room_for: int) -> None:
        self._database.execute("DELETE FROM records WHERE created <= ?", (self._clock() - self._ttl,))
        self._database.execute(
            "DELETE FROM records WHERE id IN (SELECT id FROM ("
            "SELECT id, sum(size) OVER (ORDER BY created DESC, id) AS newer FROM records) WHERE newer > ?)",
            (self._max_bytes - room_for,),
        )

    def close(self) -> None:
        """Close the file, and delete it when it was this process's own."""
        with self._lock:
            self._database.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


def pack_maps(maps: AttentionMaps) -> bytes:
    """Maps as the bytes of an ``.npz`` archive."""
    arrays: dict[str, Any] = {
        "frame": maps.frame,
        "size": np.array([maps.width, maps.height]),
        "crop_box": maps.crop_box,
        "lesion": maps.lesion,
        "spatial": maps.spatial,
        "correlation": maps.correlation,
    }
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def unpack_maps(data: bytes) -> AttentionMaps:
    """The maps that :func:`pack_maps` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return AttentionMaps(
        frame=arrays["frame"],
        width=int(arrays["size"][0]),
        height=int(arrays["size"][1]),
        crop_box=arrays["crop_box"],
        lesion=arrays["lesion"],
        spatial=arrays.get("spatial"),
        correlation=arrays.get("correlation"),
    )
