"""What is refused before it is a request, tried over bare sockets."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from service.bundle import Bundle
from tests.service.server.problems import check_problem
from tests.torture.served import Served
from tests.torture.sockets import connect, get, read_all, read_answer, statuses, trickle_until_closed


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle) -> Iterator[Served]:
    """A service that does not wait long for headers."""
    with Served({"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_HEAD_SECONDS": "1.5"}) as service:
        yield service


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 1000) for i in range(2000)) + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nX-one: " + b"v" * 2_000_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * 500_000 + b"\r\n",
        b"GET /healthz?" + b"q" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["2,000 headers", "one of 2 MB", "500,000 empty ones", "address of 200 kB"],
)
def test_too_large_a_head(served: Served, head: bytes) -> None:
    with connect(served.address) as connection:
        try:
            connection.sendall(head)
        except (BrokenPipeError, ConnectionResetError):
            return  # closed before all of it was sent
        said = read_all(connection)
    if said:  # what was sent after the answer may have made the system drop it
        check_problem(said, 431, "head-too-large")


def test_a_head_just_below_the_limit(served: Served) -> None:
    assert httpx.get(f"{served.url}/healthz", headers={"x-large": "v" * 30_000}).status_code == 200
    answer = httpx.get(f"{served.url}/healthz", headers={"x-large": "v" * 33_000})
    assert answer.status_code == 431


@pytest.mark.parametrize(("num", "status"), [(100, 200), (101, 431), (7_000, 431)])
def test_headers_are_counted_before_they_are_parsed(served: Served, num: int, status: int) -> None:
    """Lines of the body do not count."""
    more = b"a:\r\n" * (num - 2)
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n" + more + b"\r\n"
    with connect(served.address) as connection:
        connection.sendall(head + b"\n" * 500)
        assert statuses(read_answer(connection)) == [status]


def test_an_address_has_a_limit_of_its_own(served: Served) -> None:
    assert httpx.get(f"{served.url}/healthz?{'a=&' * 600}").status_code == 200
    answer = httpx.get(f"{served.url}/healthz?{'a=&' * 700}")
    assert answer.status_code == 431
    assert "2,048" in answer.json()["detail"]


def test_trailers_without_end(served: Served) -> None:
    with connect(served.address) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        _, said = trickle_until_closed(
            connection, b"".join(b"T-%d: %s\r\n" % (i, b"v" * 900) for i in range(9)), pause=0.05
        )
    assert set(statuses(said)) <= {415, 431}


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost, example.org\r\n\r\n",
        b"GET /healthz%0A HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz%7f?a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=[
        "both lengths",
        "two lengths",
        "negative",
        "bad chunk",
        "TLS",
        "half a line",
        "address in bytes",
        "CONNECT",
        "two hosts in one",
        "line break in the path",
        "delete in the path",
    ],
)
def test_what_is_no_request(served: Served, request_: bytes) -> None:
    with connect(served.address) as connection:
        connection.sendall(request_)
        check_problem(read_all(connection), 400, "malformed-request")


def test_strangers_fill_no_log(served: Served) -> None:
    """Nobody needs a key to send such things, and a log keeps its latest lines alone."""
    healthy = get("/healthz")
    for request in (b"rubbish\r\n\r\n", healthy + b"rubbish\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"):
        with connect(served.address) as connection:
            connection.sendall(request)
            assert statuses(read_all(connection))[-1] == 400
    assert served.metric("cin_connections_closed_total", reason="malformed") >= 3
    assert not [line for line in served.log if "WARNING" in line or "invalid" in line.lower()]


@pytest.mark.parametrize(("size", "status"), [(1, 400), (100, 400), (1000, 415)])
def test_a_body_in_many_small_chunks(served: Served, size: int, status: int) -> None:
    chunk = b"%x\r\n%s\r\n" % (size, b"v" * size)
    with connect(served.address) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
            + 5000 * chunk
            + b"0\r\n\r\n"
        )
        assert statuses(read_answer(connection)) == [status]
