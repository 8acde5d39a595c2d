"""The rate of one caller's requests."""

from __future__ import annotations

import pytest

from service.admission.rate_limit import RateLimit, TooMany, address_group


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _taken(limits: RateLimit, who: str, tries: int) -> int:
    taken = 0
    for _ in range(tries):
        try:
            limits.take(who)
        except TooMany:
            continue
        taken += 1
    return taken


def test_a_bucket_empties_and_fills_at_its_rate() -> None:
    clock = Clock()
    limits = RateLimit(5, clock=clock)
    assert _taken(limits, "a", 20) == 10, "two seconds' worth at once"
    with pytest.raises(TooMany) as caught:
        limits.take("a")
    clock.now += caught.value.seconds - 0.001
    assert _taken(limits, "a", 1) == 0
    clock.now += 0.001
    assert _taken(limits, "a", 3) == 1
    assert _taken(limits, "b", 20) == 10, "another caller has a bucket of their own"
    clock.now += 3600
    assert _taken(limits, "a", 20) == 10, "and it never holds more"


def test_a_rate_below_one_lets_one_through() -> None:
    clock = Clock()
    limits = RateLimit(0.1, clock=clock)
    assert _taken(limits, "a", 3) == 1
    clock.now += 10
    assert _taken(limits, "a", 3) == 1


def test_strangers_cost_no_memory_and_forgive_nobody_who_goes_on() -> None:
    clock = Clock()
    limits = RateLimit(0.001, clock=clock)
    assert _taken(limits, "busy", 2) == 1
    for number in range(30_000):
        limits.take(f"stranger {number}")
        if number % 1000 == 0:
            assert _taken(limits, "busy", 1) == 0
    assert len(limits) == 10_000


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.8", "192.0.2.8"),
        ("", ""),
        ("testclient", "testclient"),
        ("x" * 30_000, "x" * 64),
        ("fe80::1%" + "x" * 30_000, "fe80::"),
    ],
)
def test_callers_by_address(address: str, group: str) -> None:
    assert address_group(address) == group
