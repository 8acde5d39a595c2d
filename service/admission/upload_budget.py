"""How many bytes of uploads may be in memory at once: pictures on their way here hold no place in the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.inference.batching import QueueFull


class Uploads:
    """Room for ``max_bytes`` of what clients send, from the first byte until the answer; lives on one event loop.

    Only what has arrived counts, so a client that sends slowly holds next to nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Yields a function that takes a number of bytes until the block is left.

        It raises :class:`QueueFull` when there is no room for them.
        """
        taken = 0

        def take(num: int) -> None:
            nonlocal taken
            if num > self._free:
                raise QueueFull
            self._free -= num
            taken += num

        try:
            yield take
        finally:
            self._free += taken
