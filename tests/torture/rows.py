"""One figure each: what was found, what is allowed, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A check's outcome."""

    name: str
    value: float
    limit: str
    ok: bool

    @property
    def is_violation(self) -> bool:
        """Whether something happened that must not happen at all."""
        return not self.ok and self.limit == "0"

    def as_json(self) -> dict[str, Any]:
        """For ``results/torture.json``."""
        return asdict(self)


def none_of(name: str, count: float) -> Row:
    """Something that must not happen."""
    return Row(name, round(count, 3), "0", count == 0)


def at_most(name: str, value: float, limit: float) -> Row:
    """The less the better."""
    return Row(name, round(value, 3), f"at most {limit:g}", value <= limit)


def at_least(name: str, value: float, limit: float) -> Row:
    """The more the better."""
    return Row(name, round(value, 3), f"at least {limit:g}", value >= limit)


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds; infinite where there are none."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))] if values else float("inf")
