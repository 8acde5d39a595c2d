"""Rate limit: one token bucket per caller."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

# Beyond this the least recently used bucket is evicted; its caller starts with a full one again.
_MAX_CALLERS = 10_000


# Longest name of a caller that is no address: a proxy may forward any text, and each distinct name gets a bucket.
_LONGEST_NAME = 64


class TooMany(Exception):  # noqa: N818 - an answer to the client, not a fault
    """One caller asks for too much: of ``what``, and after how many ``seconds`` to retry."""

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
        """Number of buckets."""
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
    """What an address is counted as: IPv6 by its /64, unless it maps an IPv4 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:_LONGEST_NAME]
    if not isinstance(parsed, IPv6Address):
        return address
    # A dual-stack socket reports IPv4 clients this way.
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
