"""Slots, upload bytes and a caller's share of them."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.admission.admission import Admission, Busy
from service.admission.rate_limit import RateLimit, TooMany


def make(*, slots: int = 9, max_per_caller: int | None = None, max_bytes: int = 100) -> Admission:
    return Admission(RateLimit(1000), slots=slots, max_per_caller=max_per_caller, max_bytes=max_bytes)


def test_requests_are_counted_by_caller() -> None:
    admission = Admission(RateLimit(0.001), slots=1, max_per_caller=None, max_bytes=1)
    admission.count_request("a")
    admission.count_request("b")
    with pytest.raises(TooMany, match="requests"):
        admission.count_request("a")


def test_slots_are_bounded_and_given_back() -> None:
    admission = make(slots=2)
    with admission.enter("a") as one, admission.enter("b") as two, admission.enter("c") as three:
        one.take_slots()
        two.take_slots()
        assert admission.slots_taken == 2
        with pytest.raises(Busy):
            three.take_slots()
        with pytest.raises(Busy), admission.enter("d"):
            pass
    assert admission.slots_taken == 0
    with admission.enter("a") as entry, admission.enter("a") as too_many:
        entry.take_slots(2)
        with pytest.raises(Busy):
            too_many.take_slots()
    with admission.enter("a", 2) as entry:
        entry.take_slots(2)


def test_a_request_holds_no_slot_while_it_uploads() -> None:
    admission = make(slots=1)
    with admission.enter("slow"), admission.enter("quick") as entry:
        entry.take_slots()
        assert admission.slots_taken == 1


def test_upload_bytes_are_bounded_and_given_back() -> None:
    admission = make(max_bytes=100)
    with admission.enter("a") as one, admission.enter("b") as two:
        one.add_bytes(60)
        with pytest.raises(Busy):
            two.add_bytes(41)
        two.add_bytes(40)
    with admission.enter("a") as entry:
        entry.add_bytes(100)


def test_one_caller_cannot_fill_the_budget_for_uploads() -> None:
    admission = make(max_bytes=100)
    with admission.enter("a") as one, admission.enter("a") as two, admission.enter("b") as other:
        one.add_bytes(30)
        two.add_bytes(20)
        for entry in (one, two):
            with pytest.raises(TooMany, match="bytes"):
                entry.add_bytes(1)
        other.add_bytes(50)
    with admission.enter("a") as alone:
        alone.add_bytes(90)
        with admission.enter("a") as second, pytest.raises(TooMany, match="bytes"):
            second.add_bytes(1)
    with admission.enter("a") as again:
        again.add_bytes(50)


def test_a_callers_share_is_held_shrinks_and_is_given_back() -> None:
    admission = make(max_per_caller=3)
    with admission.enter("a", 2) as entry:
        with pytest.raises(TooMany, match="images at once"), admission.enter("a", 2):
            pass
        with admission.enter("b", 3):
            pass
        entry.take_slots(1)
        with admission.enter("a", 2):
            pass
    # More than the share, but nothing else of this caller is in flight.
    with admission.enter("a", 5), pytest.raises(TooMany), admission.enter("a", 1):
        pass
    with admission.enter("a", 3):
        pass
    unlimited = make(max_per_caller=None)
    with unlimited.enter("a", 10), unlimited.enter("a", 1000):
        pass


def test_a_caller_has_as_many_slots_as_it_leaves_free() -> None:
    admission = make(slots=12)

    def hold(stack: ExitStack, caller: str) -> int:
        """Take slots until there are no more for this caller; how many that were."""
        for num in range(100):
            entry = stack.enter_context(admission.enter(caller))
            try:
                entry.take_slots()
            except Busy:
                return num
        raise AssertionError("no end")

    with ExitStack() as stack:
        assert [hold(stack, caller) for caller in ("a", "b", "c")] == [6, 3, 1]
        # Whoever comes next finds one.
        stack.enter_context(admission.enter("d")).take_slots()
    with ExitStack() as stack:
        assert hold(stack, "a") == 6


def test_a_batch_has_all_slots_of_an_idle_service_and_half_of_what_is_free_otherwise() -> None:
    admission = make(slots=16)
    with admission.enter("a", 16) as alone:
        alone.take_slots(16)
    with admission.enter("a", 8) as first, admission.enter("b", 5) as second, admission.enter("c") as single:
        first.take_slots(8)
        with pytest.raises(Busy):
            second.take_slots(5)
        second.take_slots(4)
        single.take_slots()
