"""A cache of encoded overlays."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from service.attention.overlay import OverlayOptions


@dataclass(frozen=True)
class _Overlay:
    content: bytes
    drawn: float


class OverlayCache:
    """The latest encoded overlays, up to a size and an age; lives on one event loop.

    Look up the record first: an overlay must not outlive it. ``made`` is the record's time of creation: with an
    ``Idempotency-Key`` an id may be used again, for another image.
    """

    def __init__(
        self, *, max_bytes: int = 32 * 2**20, max_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes, self._max_seconds, self._clock = max_bytes, max_seconds, clock
        self._kept: OrderedDict[tuple[str, datetime, OverlayOptions], _Overlay] = OrderedDict()
        self._bytes = 0

    def get(self, id: str, made: datetime, options: OverlayOptions) -> bytes | None:
        """The overlay, if it is cached."""
        self.purge()
        found = self._kept.get((id, made, options))
        return None if found is None else found.content

    def put(self, id: str, made: datetime, options: OverlayOptions, content: bytes) -> None:
        """Cache an overlay; the oldest are evicted."""
        self._drop((id, made, options))
        self._kept[id, made, options] = _Overlay(content, self._clock())
        self._bytes += len(content)
        self.purge()

    def forget(self, id: str) -> None:
        """Remove every overlay of a record."""
        for key in [key for key in self._kept if key[0] == id]:
            self._drop(key)

    def purge(self) -> None:
        """Remove overlays that are too old or exceed the size."""
        oldest = self._clock() - self._max_seconds
        while self._kept and (self._bytes > self._max_bytes or next(iter(self._kept.values())).drawn <= oldest):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, datetime, OverlayOptions]) -> None:
        if (dropped := self._kept.pop(key, None)) is not None:
            self._bytes -= len(dropped.content)
