"""What a client may take of a connection, tried over bare sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock, patch

import httpx
import pytest

from service.bundle import Bundle
from service.server.connections import ConnectionLimits, Guard, GuardedProtocol
from service.server.lingering import LingeringTransport
from tests.service.server.problems import check_problem
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.waiting import wait_until
from tests.torture.served import Served
from tests.torture.sockets import (
    connect,
    get,
    post,
    read_all,
    read_answer,
    seconds_until_closed,
    statuses,
    trickle_until_closed,
)

pytestmark = pytest.mark.alone

PICTURE = picture_bytes(dark_square(), "JPEG")
HEAD_SECONDS, STALL_SECONDS, DEADLINE_SECONDS, MOST = 1.5, 1.5, 2.5, 24
SETTINGS = {
    "CIN_HEAD_SECONDS": str(HEAD_SECONDS),
    "CIN_STALL_SECONDS": str(STALL_SECONDS),
    "CIN_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
    "CIN_MAX_CONNECTIONS": str(MOST),
}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service may put temporary files."""
    return tmp_path_factory.mktemp("tmp")


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle, temporary: Path) -> Iterator[Served]:
    """A service with little patience."""
    settings = {**SETTINGS, "CIN_BUNDLE": str(tiny_bundle.folder), "TMPDIR": str(temporary)}
    with Served(settings) as service:
        yield service


def closed(served: Served, reason: str) -> float:
    return served.metric("cin_connections_closed_total", reason=reason)


def test_short_connections_share_one_timer() -> None:
    loop = asyncio.new_event_loop()
    try:
        guard = Guard(ConnectionLimits())
        pending: list[Any] = []

        def remember(*timer: Any) -> Mock:
            pending.append(timer)
            return Mock()

        with patch.object(loop, "call_later", remember):
            for _ in range(300):
                connection = cast(GuardedProtocol, Mock(loop=loop))
                guard.admit(connection)
                guard.forget(connection)
            assert len(pending) == 1
            guard.admit(cast(GuardedProtocol, Mock(loop=loop, heard=0.0)))
            for turn in range(1, 4):
                assert len(pending) == turn
                _, sweep, of = pending[-1]
                sweep(of)
    finally:
        loop.close()


def test_costly_bytes_are_paid_for_one_sender_after_the_other() -> None:
    """What two clients sent took 10 ms each to parse, what a third one sent next to nothing."""
    loop = Mock()
    loop.time.return_value = 100.0
    guard = Guard(ConnectionLimits())
    costly, cheap = [Mock(loop=loop) for _ in range(2)], Mock(loop=loop)
    for connection in costly:
        guard.charge(connection, 0.010)
    guard.charge(cheap, 0.001)
    assert [connection.transport.hold.call_count for connection in (*costly, cheap)] == [1, 1, 0]
    (first, release_first), (second, release_second) = [call.args for call in loop.call_at.call_args_list]
    assert (release_first, release_second) == tuple(connection.transport.release for connection in costly)
    assert first - 100.0 >= 4 * 0.010
    assert second - first == pytest.approx(first - 100.0)


def test_who_waits_is_not_read_whatever_else_asks_for_it() -> None:
    inner = Mock()
    transport = LingeringTransport(inner, lambda: False)
    transport.hold()
    transport.pause_reading()
    transport.resume_reading()
    inner.resume_reading.assert_not_called()
    transport.release()
    inner.resume_reading.assert_called_once_with()
    transport.hold()
    transport.pause_reading()
    transport.release()
    inner.resume_reading.assert_called_once_with()


def test_a_silent_connection_is_closed(served: Served) -> None:
    before = closed(served, "head_timeout")
    with connect(served.address) as connection:
        assert read_all(connection) == b""
    assert closed(served, "head_timeout") == before + 1


def test_a_head_that_trickles_in_is_a_timeout(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        seconds, said = trickle_until_closed(connection, b"X-a: b\r\n", pause=0.1)
    check_problem(said, 408, "request-timeout")
    assert seconds < 4 * HEAD_SECONDS


def test_the_second_head_has_its_own_time(served: Served) -> None:
    with connect(served.address) as connection:
        for _ in range(3):
            connection.sendall(get("/healthz"))
            assert statuses(read_answer(connection)) == [200]
            time.sleep(0.5 * HEAD_SECONDS)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        check_problem(read_all(connection), 408, "request-timeout")


def test_empty_lines_are_no_request(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(get("/healthz"))
        seconds, said = trickle_until_closed(connection, b"\r\n", pause=0.1)
    assert statuses(said) == [200, 400]
    assert seconds < 4 * HEAD_SECONDS


def test_a_body_that_stops_is_a_timeout(served: Served) -> None:
    before = closed(served, "body_timeout")
    with connect(served.address) as connection:
        connection.sendall(post(100_000) + PICTURE[:500])
        check_problem(read_all(connection), 408, "request-timeout")
    assert closed(served, "body_timeout") == before + 1
    wait_until(lambda: served.metric("cin_requests_in_flight") == 1)  # the one that asks


def test_a_body_that_trickles_in_is_a_timeout(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(post(100_000))
        seconds, said = trickle_until_closed(connection, b"\xff", pause=0.2)
    check_problem(said, 408, "request-timeout")
    assert seconds < 2 * DEADLINE_SECONDS


def test_slow_uploads_take_no_place(tiny_bundle: Bundle) -> None:
    with Served({"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_QUEUE_SIZE": "2"}) as narrow:
        slow = [connect(narrow.address) for _ in range(6)]
        for connection in slow:
            connection.sendall(post(len(PICTURE)) + PICTURE[:100])
        wait_until(lambda: narrow.metric("cin_requests_in_flight") == 7)
        assert httpx.post(f"{narrow.url}/predict", files={"image": PICTURE}).status_code == 200
        for connection in slow[:2]:
            connection.sendall(PICTURE[100:])
            assert connection.recv(12) == b"HTTP/1.1 200"
        for connection in slow:
            connection.close()
        wait_until(lambda: narrow.metric("cin_requests_in_flight") == 1)


def test_a_body_after_its_answer_ends_as_well(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(post(50 * 2**20))
        seconds, said = trickle_until_closed(connection, b"\0", pause=0.2)
    assert statuses(said) == [413]
    assert seconds < 1.2 * DEADLINE_SECONDS + 2  # the service's own patience, and that for whoever reads the body


def test_a_shorter_body_than_announced_gets_no_answer(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(post(len(PICTURE) + 10) + PICTURE)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""


def test_a_longer_body_than_announced_is_another_request(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(post(len(PICTURE)) + PICTURE + b"rubbish rubbish\r\n\r\n")
        assert statuses(read_all(connection))[0] == 200


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(get("/healthz") + post(len(PICTURE)) + PICTURE + get("/nothing") + get("/healthz") + b"junk")
        assert statuses(read_all(connection)) == [200, 200, 404, 200, 408]


def test_a_flood_of_pipelined_requests_is_cut(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(get("/openapi.json") * 2000)
        assert len(statuses(read_all(connection))) < 2000
    assert httpx.get(f"{served.url}/healthz").status_code == 200


def test_silent_connections_do_not_lock_others_out(served: Served) -> None:
    silent = [connect(served.address) for _ in range(3 * MOST)]
    try:
        time.sleep(0.3)
        for _ in range(5):
            assert httpx.post(f"{served.url}/predict", files={"image": PICTURE}).status_code == 200
    finally:
        for connection in silent:
            connection.close()
    assert closed(served, "too_many") > 0


def test_the_connection_that_is_answered_is_not_the_one_that_is_closed(served: Served) -> None:
    with connect(served.address) as busy:
        for _ in range(8):
            busy.sendall(get("/healthz"))
            crowd = [connect(served.address) for _ in range(MOST)]
            assert statuses(read_answer(busy)) == [200]
            for connection in crowd:
                connection.close()


def test_nothing_is_left_of_abandoned_uploads(served: Served, temporary: Path) -> None:
    time.sleep(0.1)
    files, written = served.num_files(), sorted(temporary.iterdir())
    for number in range(200):
        with connect(served.address) as connection:
            connection.sendall(post(len(PICTURE)) + PICTURE[: 10 * number % len(PICTURE)])
    wait_until(lambda: served.metric("cin_requests_in_flight") == 1)
    wait_until(lambda: served.num_files() <= files + 1)
    assert served.metric("cin_queue_places_taken") == 0
    assert sorted(temporary.iterdir()) == written


def test_a_client_that_closes_its_half_has_left(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(post(len(PICTURE)) + PICTURE[:100])
        connection.shutdown(socket.SHUT_WR)
        assert seconds_until_closed(connection) < 1.0
