"""Requests that can be read in two ways: directly, and behind proxies that share their connections among clients."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.service.server.framings import FRAMINGS
from tests.service.server.proxies import haproxy, missing, nginx
from tests.service.server.smuggling import Echo, echoing, violations
from tests.torture.plan import Plan
from tests.torture.rows import Row, none_of


def check(_: Plan, __: Path) -> Iterator[Row]:
    """Every framing, whole and in two parts, at a server that reads bodies and at one that answers before."""
    for reads_bodies in (True, False):
        with echoing(reads_bodies=reads_bodies) as echo:
            yield from _rows(echo, "bodies read" if reads_bodies else "answered before the body")


def _rows(echo: Echo, how: str) -> Iterator[Row]:
    name = f"smuggling, {len(FRAMINGS)} framings, {how}"
    yield none_of(f"{name}, directly: read in two ways", len(violations(echo, echo.address)))
    for program, started in {"nginx": nginx, "haproxy": haproxy}.items():
        if missing(program) is None:
            with tempfile.TemporaryDirectory() as folder, started(echo.address, Path(folder)) as front:
                yield none_of(f"{name}, behind {program}: read in two ways", len(violations(echo, front)))
