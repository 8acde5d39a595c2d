"""Predictions kept for a while, so that their overlays can be drawn. The uploaded bytes are never kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from service.attention.overlay import AttentionMaps


class RecordsError(RuntimeError):
    """The store does not work; the text says what to change."""


class RecordsFull(RecordsError):  # noqa: N818 - named for the state
    """There is no room for another record; reading still works."""


@dataclass(frozen=True)
class Record:
    """A prediction to keep: its owner, the JSON of the answer, and the maps that overlays are drawn from."""

    owner: str
    prediction: str
    maps: AttentionMaps


@dataclass(frozen=True)
class StoredRecord:
    """A prediction that was kept. Its maps are unpacked when they are first used: many requests need none."""

    prediction: str
    packed_maps: bytes

    @cached_property
    def maps(self) -> AttentionMaps:
        """The maps; unpacking takes milliseconds, so use them off the event loop."""
        return unpack_maps(self.packed_maps)


class Purged(NamedTuple):
    """How many records expired, how many were evicted to make room, and how many are left."""

    expired: int
    for_room: int
    kept: int


class RecordStore(Protocol):
    """Where records live. Calls may block on a disk or a network: keep them off the event loop.

    Every call raises :class:`RecordsError` when the store does not work.
    """

    def put(self, id: str, record: Record) -> None:
        """Keep a record; the oldest are evicted when the byte budget is exceeded."""

    def get(self, id: str, owner: str) -> StoredRecord | None:
        """The record, unless it is unknown, another owner's, deleted or expired."""

    def delete(self, id: str, owner: str) -> bool:
        """Delete and overwrite a record; whether there was one of this owner."""

    def purge(self) -> Purged:
        """Delete expired records; counts what went since the last call. Of several replicas, one gets the counts."""

    def close(self) -> None:
        """Close the database."""


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
