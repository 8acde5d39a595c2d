"""Which connection makes room for a new one when all that are allowed are open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar

# Seconds in which a new connection may have sent bytes that were not read yet.
_YOUNG_SECONDS = 0.25


class Open(Protocol):
    """An open connection: who holds it, when its client was last heard, and whether it is the client's turn."""

    @property
    def address(self) -> str: ...
    @property
    def heard(self) -> float: ...
    @property
    def awaits_client(self) -> bool: ...


Connection = TypeVar("Connection", bound=Open)


def gives_way(connections: Collection[Connection], newcomer: Open, now: float) -> Connection | None:
    """The connection to close for ``newcomer``, which is not among them; None: the newcomer has to go.

    It is the one that waits longest for its client, of the newcomer's address or of one that has as many. One that was
    heard just now is spared, unless its address has more: whoever fills all connections and keeps every one of them
    busy shuts nobody else out.
    """
    num_of = Counter(connection.address for connection in connections)
    num = num_of[newcomer.address] + 1
    may_go = [
        other
        for other in connections
        if (num_of[other.address] >= num or other.address == newcomer.address) and other.awaits_client
    ]
    silent = [other for other in may_go if now - other.heard >= _YOUNG_SECONDS]
    of_more = [other for other in may_go if num_of[other.address] > num]
    return min(silent or of_more, key=lambda other: other.heard, default=None)
