"""Predictions kept for a while, so that their overlays can be drawn; the uploaded bytes are never among them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from service.attention.overlay import AttentionMaps


class RecordsError(RuntimeError):
    """The store does not work; the text says what to change."""


class RecordsFull(RecordsError):  # noqa: N818 - named for the state
    """There is no room for another record; those that are kept can be read."""


@dataclass(frozen=True)
class Record:
    """A prediction: whose it is, the JSON that was answered, and what overlays are drawn from."""

    owner: str
    prediction: str
    maps: AttentionMaps


class Purged(NamedTuple):
    """Records that went by themselves: past their time, or because newer ones needed the room; and those left."""

    expired: int
    for_room: int
    kept: int


class RecordStore(Protocol):
    """Where records live. Calls may block on a disk or a network: keep them off the event loop.

    Every call raises :class:`RecordsError` when the store does not work.
    """

    def put(self, id: str, record: Record) -> None:
        """Keep a record; the oldest make room when the byte budget is exceeded."""

    def get(self, id: str, owner: str) -> Record | None:
        """The record, unless it is unknown, somebody else's, deleted or past its time."""

    def delete(self, id: str, owner: str) -> bool:
        """Delete at once and for good; whether there was one of this owner."""

    def purge(self) -> Purged:
        """Delete what is past its time; what went since the last call, and is told nowhere else."""

    def close(self) -> None:
        """Release what the store holds."""


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
