"""Three times what the service can do: it goes on doing that, and refuses the rest at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.load import closed_loop, form, open_loop, while_polling
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, at_most, goal, none_of, p99
from tests.torture.served import Served

CLIENTS = 8
TIMES = 3


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Its peak, then three times as many requests a second."""
    bodies = [form(picture.read_bytes())]
    # Of a network that costs nothing these clients could not ask for three times as much: the shipped one, always.
    with Served({"CIN_QUEUE_SIZE": str(plan.queue_size), "CIN_LOG_LEVEL": "error"}) as served:
        url = f"{served.url}/predict"
        asyncio.run(closed_loop(url, bodies, clients=2, seconds=2.0))
        peak = asyncio.run(closed_loop(url, bodies, clients=CLIENTS, seconds=plan.overload_seconds)).figures()[
            "per_second"
        ]
        offered = open_loop(url, bodies, rate=TIMES * peak, seconds=plan.overload_seconds)
        load, polls = asyncio.run(while_polling(f"{served.url}/healthz", offered))
    refused = [1e3 * sample.seconds for sample in load.samples if sample.status == 429]
    name = f"overload, {TIMES} times {peak:.0f} pictures a second"
    yield none_of(
        f"{name}: neither answered nor refused with 429", sum(s.status not in (200, 429) for s in load.samples)
    )
    yield none_of(f"{name}: /healthz not answered", sum(s.status != 200 for s in polls.samples))
    yield at_least(f"{name}: refused", len(refused), 1)
    yield goal(at_least(f"{name}: pictures answered, to the peak", load.figures()["per_second"] / peak, 0.9))
    yield goal(at_most(f"{name}: p99 of a refusal in ms", p99(refused), 50))
    yield goal(at_most(f"{name}: p99 of /healthz in ms", p99([1e3 * s.seconds for s in polls.samples]), 50))
