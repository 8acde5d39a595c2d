"""Admission control: limits on the images and bytes in flight, in total and per caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.admission.rate_limit import RateLimit, TooMany


class Busy(Exception):  # noqa: N818 - an answer to the client, not a fault
    """Every slot is taken, or the upload budget is used up."""


class Admission:
    """Counts slots, upload bytes and each caller's share of both; lives on one event loop.

    An image holds a slot from decoding to its answer. A caller may hold no more slots than stay free: half of them
    when it is alone, a third each when there are two; so a new caller finds one. Upload bytes count from arrival to
    answer, so a slow upload holds little. All uploads of one caller may hold half of the bytes.
    """

    def __init__(self, rate_limit: RateLimit, *, slots: int, max_per_caller: int | None, max_bytes: int) -> None:
        """``max_per_caller`` is one caller's share of the ``slots``; None: all of them."""
        self._rate_limit, self._max_per_caller = rate_limit, max_per_caller
        self.slots = self._free_slots = slots
        self._free_bytes = max_bytes
        self._max_bytes_per_caller = max_bytes // 2
        self._of_caller: Counter[str] = Counter()
        self._slots_of_caller: Counter[str] = Counter()
        self._bytes_of_caller: Counter[str] = Counter()

    @property
    def slots_taken(self) -> int:
        """Images in flight now."""
        return self.slots - self._free_slots

    def count_request(self, caller: str) -> None:
        """Count one request of any kind against the caller's rate. Raises :class:`TooMany`."""
        self._rate_limit.take(caller)

    @contextmanager
    def enter(self, caller: str, num: int = 1) -> Iterator[Entry]:
        """Admit a request of up to ``num`` images; what it holds is released at the end of the block.

        Raises :class:`Busy` when no slot is free, :class:`TooMany` when the caller's share is used up. A request for
        more than the share is admitted while the caller has nothing else in flight.
        """
        if self._free_slots < 1:
            raise Busy
        held = self._of_caller[caller]
        if self._max_per_caller is not None and held and held + num > self._max_per_caller:
            raise TooMany("images at once", 1.0)
        entry = Entry(self, caller, num)
        try:
            yield entry
        finally:
            entry.release()

    def take(self, caller: str, *, share: int = 0, slots: int = 0, num_bytes: int = 0) -> None:
        """Take slots, bytes and share; negative numbers release. On :class:`Busy` nothing was taken."""
        if num_bytes > self._free_bytes or (slots > 0 and not self._has_room(caller, slots)):
            raise Busy
        self._free_slots -= slots
        self._free_bytes -= num_bytes
        counts = (self._of_caller, share), (self._slots_of_caller, slots), (self._bytes_of_caller, num_bytes)
        for held, num in counts:
            held[caller] += num
            if not held[caller]:
                del held[caller]

    def _has_room(self, caller: str, num: int) -> bool:
        """Whether the caller may take ``num`` more slots; all are allowed while none is taken."""
        held, free = self._slots_of_caller[caller], self._free_slots
        first = held == 0 and num == 1
        return num <= free and (free == self.slots or first or held + num <= free - num)

    def require_share_of_bytes(self, caller: str, *, held: int, num: int) -> None:
        """Raise :class:`TooMany` when ``num`` more bytes exceed the caller's share; its only upload, which holds
        ``held`` bytes, may exceed it."""
        total = self._bytes_of_caller[caller]
        if total > held and total + num > self._max_bytes_per_caller:
            raise TooMany("bytes of uploads at once", 1.0)


class Entry:
    """What one admitted request holds."""

    def __init__(self, admission: Admission, caller: str, share: int) -> None:
        self._admission, self._caller = admission, caller
        self._share, self._slots, self._bytes = share, 0, 0
        admission.take(caller, share=share)

    def add_bytes(self, num: int) -> None:
        """Count bytes of the upload. Raises :class:`Busy` when the budget is used up, :class:`TooMany` when the
        caller's share of it is."""
        self._admission.require_share_of_bytes(self._caller, held=self._bytes, num=num)
        self._admission.take(self._caller, num_bytes=num)
        self._bytes += num

    def take_slots(self, num: int = 1) -> None:
        """Take the slots of ``num`` images, and reduce the request's share to that number. Raises :class:`Busy`."""
        self._admission.take(self._caller, slots=num, share=num - self._share)
        self._slots, self._share = num, num

    def release(self) -> None:
        """Release everything."""
        self._admission.take(self._caller, share=-self._share, slots=-self._slots, num_bytes=-self._bytes)
