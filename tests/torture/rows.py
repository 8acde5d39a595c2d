"""One figure each: what was found, what is allowed, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

_GOAL = "goal: "


@dataclass(frozen=True)
class Row:
    """A check's outcome."""

    name: str
    value: float
    limit: str
    ok: bool

    @property
    def is_violation(self) -> bool:
        """Whether it is more than a goal that this machine, or what else it did, put out of reach."""
        return not self.ok and not self.limit.startswith(_GOAL)

    def as_json(self) -> dict[str, Any]:
        """For ``results/torture.json``."""
        return asdict(self)


def none_of(name: str, count: float) -> Row:
    """Something that must not happen."""
    return Row(name, round(count, 3), "0", count == 0)


def at_most(name: str, value: float, limit: float) -> Row:
    """Something that must not be more."""
    return Row(name, round(value, 3), f"at most {limit:g}", value <= limit)


def at_least(name: str, value: float, limit: float) -> Row:
    """Something that must not be less: a control, or what a check rests on."""
    return Row(name, round(value, 3), f"at least {limit:g}", value >= limit)


def goal(row: Row) -> Row:
    """A limit that depends on the machine: missed, not violated, where it does not hold."""
    return replace(row, limit=f"{_GOAL}{row.limit}")


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds; infinite where there are none."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))] if values else float("inf")
