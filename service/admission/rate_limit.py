"""How much one caller may ask for: requests a second, and pictures at once."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

# Whoever is forgotten begins with a full bucket again, so it is those who have not asked for longest.
_MAX_CALLERS = 10_000


class TooMany(Exception):  # noqa: N818 - an answer to the client, not a fault
    """More than one caller may ask for; ``seconds`` until it is worth another try."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass
class _Bucket:
    tokens: float
    filled: float


class CallerLimits:
    """A bucket of requests for each caller, and a share of the places; lives on one event loop.

    A bucket holds two seconds' worth and fills at ``rate`` a second; without ``places`` there is no share. Memory is
    bounded whoever calls.
    """

    def __init__(self, *, rate: float, places: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._places, self._clock = rate, max(1.0, 2 * rate), places, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._taken: Counter[str] = Counter()

    def take(self, who: str) -> None:
        """Count one request. Raises :class:`TooMany`."""
        now = self._clock()
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = _Bucket(self._burst, now)
            if len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(who)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._rate)
        bucket.filled = now
        if bucket.tokens < 1.0:
            raise TooMany((1.0 - bucket.tokens) / self._rate)
        bucket.tokens -= 1.0

    @contextmanager
    def places(self, who: str, num: int) -> Iterator[Callable[[int], None]]:
        """Hold ``num`` of the caller's places; yields a function that keeps fewer. Raises :class:`TooMany`.

        One who may have fewer than ``num`` may still send that many when nothing else of it is under way.
        """
        taken = self._taken[who]
        if self._places is not None and taken and taken + num > self._places:
            raise TooMany(1.0)
        held = num
        self._taken[who] += held

        def keep(fewer: int) -> None:
            nonlocal held
            self._taken[who] -= held - fewer
            held = fewer

        try:
            yield keep
        finally:
            self._taken[who] -= held
            if not self._taken[who]:
                del self._taken[who]


def address_group(address: str) -> str:
    """The caller behind an address: in IPv6 one gets a whole /64, but for those that stand for an IPv4 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    # So a socket that listens for both kinds names who came by IPv4.
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
