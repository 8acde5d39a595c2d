"""Clients that read their answer slowly or not at all: the wait goes by the answer's size, and costs nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from service.bundle import Bundle
from tests.service.waiting import wait_until
from tests.torture.served import Served
from tests.torture.sockets import connect, get


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle) -> Iterator[Served]:
    """A service that does not wait for a client that stalls."""
    with Served({"CIN_STALL_SECONDS": "1.5", "CIN_BUNDLE": str(tiny_bundle.folder)}) as service:
        yield service


def test_who_does_not_read_is_closed(served: Served) -> None:
    before = served.metric("cin_connections_closed_total", reason="unread")
    with connect(served.address, receive_buffer=4096) as connection:
        # More than the system buffers; what is left is of a small answer, for which the service does not wait long.
        connection.sendall(get("/docs/swagger-ui-bundle.js") + 15 * get("/docs/swagger-ui.css"))
        wait_until(
            lambda: served.metric("cin_connections_closed_total", reason="unread") > before,
            "the connection is closed",
            seconds=200,
        )


def test_who_reads_slowly_but_reads_gets_everything(served: Served) -> None:
    with connect(served.address, receive_buffer=4096) as connection:
        connection.sendall(get("/openapi.json").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = b""
        while part := connection.recv(8192):
            received += part
            time.sleep(0.05)
    assert json.loads(received.partition(b"\r\n\r\n")[2])["openapi"]
