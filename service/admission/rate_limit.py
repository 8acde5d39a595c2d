"""How many requests a second one caller may send: a token bucket each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

# Evict the least recently used bucket beyond this; its caller starts with a full one again.
_MAX_CALLERS = 10_000


class TooMany(Exception):  # noqa: N818 - an answer to the client, not a fault
    """More than one caller may ask for: of ``what``, and in how many ``seconds`` another try is worthwhile."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what, self.seconds = what, seconds


@dataclass
class _Bucket:
    tokens: float
    filled: float


class RateLimit:
    """A token bucket for each caller; lives on one event loop.

    A bucket holds two seconds' worth of requests and fills at ``rate`` a second. Memory is bounded.
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, max(1.0, 2 * rate), clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Buckets in memory."""
        return len(self._buckets)

    def take(self, caller: str) -> None:
        """Count one request. Raises :class:`TooMany`."""
        now = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
            if len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._rate)
        bucket.filled = now
        if bucket.tokens < 1.0:
            raise TooMany("requests", (1.0 - bucket.tokens) / self._rate)
        bucket.tokens -= 1.0


def address_group(address: str) -> str:
    """The caller behind an address: an IPv6 caller has a whole /64, unless the address maps an IPv4 one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    # A dual-stack socket reports IPv4 clients this way.
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
