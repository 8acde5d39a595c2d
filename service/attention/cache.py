"""Overlays that were drawn just now, so that looking at one again does not draw it again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from service.attention.overlay import OverlayOptions


@dataclass(frozen=True)
class _Rendering:
    content: bytes
    drawn: float


class Renderings:
    """The encoded overlays drawn last, for a minute at most; lives on one event loop.

    Only for records that were just looked up: an overlay must not be seen once its record is gone.
    """

    def __init__(
        self, *, max_bytes: int = 32 * 2**20, max_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes, self._max_seconds, self._clock = max_bytes, max_seconds, clock
        self._kept: OrderedDict[tuple[str, OverlayOptions], _Rendering] = OrderedDict()
        self._bytes = 0

    def get(self, id: str, options: OverlayOptions) -> bytes | None:
        """The overlay, if it was drawn just now."""
        self.purge()
        found = self._kept.get((id, options))
        return None if found is None else found.content

    def put(self, id: str, options: OverlayOptions, content: bytes) -> None:
        """Keep an overlay; the oldest make room."""
        self._drop((id, options))
        self._kept[id, options] = _Rendering(content, self._clock())
        self._bytes += len(content)
        self.purge()

    def forget(self, id: str) -> None:
        """Drop every overlay of a record."""
        for key in [key for key in self._kept if key[0] == id]:
            self._drop(key)

    def purge(self) -> None:
        """Drop what is too old, or too much."""
        oldest = self._clock() - self._max_seconds
        while self._kept and (self._bytes > self._max_bytes or next(iter(self._kept.values())).drawn <= oldest):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, OverlayOptions]) -> None:
        if (dropped := self._kept.pop(key, None)) is not None:
            self._bytes -= len(dropped.content)
