"""The interface of a record store: predictions kept for a while, to draw their overlays. Uploads are never kept."""

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
    """The id is taken, as when two replicas get one ``Idempotency-Key`` at once; the existing record is unchanged."""


class DamagedRecord(RecordsError):  # noqa: N818 - named for the state
    """This record was not written by the service; others can still be read."""


def client_of(owner: str) -> str:
    """The client of an owner (a key, ``client:id``, or without keys a name); the budget counts clients."""
    return owner.partition(":")[0]


@dataclass(frozen=True)
class Record:
    """A prediction to keep: its owner, the JSON of the answer, and the maps that overlays are drawn from."""

    owner: str
    prediction: str
    maps: AttentionMaps


@dataclass(frozen=True)
class StoredRecord:
    """A kept prediction. Its maps are unpacked on first use, because many requests need none."""

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
        """Delete and overwrite a record; returns whether this owner had it."""

    def purge(self) -> Purged:
        """Delete expired records; returns the counts since the last call, to only one of several replicas."""

    def interrupt(self) -> None:
        """Make the calls in other threads raise :class:`RecordsError`."""

    def close(self) -> None:
        """Interrupt all calls and close the database."""
