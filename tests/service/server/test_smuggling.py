"""No framing makes one request into two, directly or behind a proxy that shares its connections among clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.server.framings import FRAMINGS
from tests.service.server.proxies import haproxy, missing, nginx
from tests.service.server.smuggling import Echo, echoing, violations


@pytest.fixture(scope="module", params=[True, False], ids=["bodies read", "answered at once"])
def echo(request: pytest.FixtureRequest) -> Iterator[Echo]:
    """A server that reads bodies, or answers before."""
    with echoing(reads_bodies=request.param) as echo:
        yield echo


def test_directly(echo: Echo) -> None:
    assert violations(echo, echo.address) == {}
    assert len(FRAMINGS) >= 100


@pytest.mark.parametrize("program", ["nginx", "haproxy"])
def test_behind_a_proxy(echo: Echo, program: str, tmp_path: Path) -> None:
    if reason := missing(program):
        pytest.skip(reason)
    start = {"nginx": nginx, "haproxy": haproxy}[program]
    with start(echo.address, tmp_path) as front:
        assert violations(echo, front) == {}
