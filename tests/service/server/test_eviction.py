"""Which connection is closed when one too many comes, chosen among made-up ones and over bare sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx
import pytest

from service.bundle import Bundle
from service.server.eviction import gives_way
from tests.torture.served import Served
from tests.torture.sockets import connect, post

NOW = 100.0


@dataclass(frozen=True)
class Made:
    """A connection of client ``address`` that was silent for so long."""

    address: str
    silent: float = 0.0
    awaits_client: bool = True

    @property
    def heard(self) -> float:
        return NOW - self.silent


NEW = Made("new")
BUSY_CROWD = [Made("crowd", 0.01 * i) for i in range(5)]


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        ([Made("a", 1.0), Made("b", 3.0), Made("c", 2.0)], 1),
        ([Made("a", 1.0), Made("b", 3.0, awaits_client=False)], 0),
        ([Made("a", 0.2), Made("b", 0.1)], None),
        ([Made("new", 0.2), Made("new", 0.1)], None),
        ([*BUSY_CROWD, Made("a", 0.2)], 4),
        ([*BUSY_CROWD, Made("a", 0.3)], 5),
        ([*BUSY_CROWD, Made("new", 0.2)], 4),
        ([*BUSY_CROWD, Made("new", 9.0)], 5),
        ([Made("crowd", 0.2, awaits_client=False)] * 5, None),
        ([Made("a", 9.0), Made("new", 1.0), Made("new", 0.5)], 1),
        ([Made("a", 9.0), Made("new", 0.1)], None),
    ],
)
def test_who_gives_way(connections: Sequence[Made], expected: int | None) -> None:
    assert gives_way(connections, NEW, NOW) == (None if expected is None else connections[expected])


def test_who_keeps_all_connections_busy_shuts_nobody_out(tiny_bundle: Bundle) -> None:
    over, most = threading.Event(), 16
    crowd: list[socket.socket] = []

    def keep_busy() -> None:
        while not over.wait(0.05):
            for connection in crowd:
                with suppress(OSError):  # it was closed
                    connection.send(b"x")

    settings = {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_MAX_CONNECTIONS": str(most)}
    with Served(settings) as served, ExitStack() as stack:
        for _ in range(most):
            crowd.append(stack.enter_context(connect(served.address, source="127.0.0.2")))
            crowd[-1].sendall(post(10_000_000))
        thread = threading.Thread(target=keep_busy)
        thread.start()
        try:
            for _ in range(10):
                assert httpx.get(f"{served.url}/healthz").status_code == 200
        finally:
            over.set()
            thread.join()
