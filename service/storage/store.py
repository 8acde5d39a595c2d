"""Predictions kept for a while, so that their overlays can be drawn. The uploaded bytes are never kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from service.attention.overlay import AttentionMaps
from service.storage.maps import DamagedMaps, unpack_maps


class RecordsError(RuntimeError):
    """The store does not work; the text says what to change."""


class RecordsFull(RecordsError):  # noqa: N818 - named for the state
    """There is no room for another record; reading still works."""


class RecordExists(RecordsError):  # noqa: N818 - named for the state
    """A record has that id already, as when two replicas get one ``Idempotency-Key`` at once; it stays as it is."""


class DamagedRecord(RecordsError):  # noqa: N818 - named for the state
    """A record is not one that the service wrote; the others can still be read."""


def client_of(owner: str) -> str:
    """The client whose keys share one part of the budget; an owner is a key, ``client:id``, or without keys a name."""
    return owner.partition(":")[0]


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
        """The maps; unpacking takes milliseconds, so use them off the event loop. Raises :class:`DamagedRecord`."""
        try:
            return unpack_maps(self.packed_maps)
        except DamagedMaps as error:
            raise DamagedRecord(str(error)) from error


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
        """Keep a record. When the byte budget is exceeded, the client that holds most loses its oldest records.

        Raises :class:`RecordExists` for an id that is taken.
        """

    def get(self, id: str, owner: str) -> StoredRecord | None:
        """The record, unless it is unknown, another owner's, deleted or expired.

        Raises :class:`DamagedRecord` for one that the service did not write.
        """

    def delete(self, id: str, owner: str) -> bool:
        """Delete and overwrite a record; whether there was one of this owner."""

    def purge(self) -> Purged:
        """Delete expired records; counts what went since the last call. Of several replicas, one gets the counts."""

    def interrupt(self) -> None:
        """End the calls that other threads wait for: they raise :class:`RecordsError`."""

    def close(self) -> None:
        """Interrupt all calls and close the database."""
