"""What the stack's nginx refuses, and that it lets no address take all of it; as a process of this machine."""

from __future__ import annotations

import json
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from service.bundle import Bundle
from service.problems import MEDIA_TYPE, PROBLEM_TYPES
from tests.service.server.proxies import missing, nginx_of_the_stack
from tests.service.tiny_bundle import dark_square, picture_bytes, write_tiny_bundle
from tests.torture.served import Served
from tests.torture.sockets import connect, post, read_all, read_problem, statuses
from tests.torture.strangers import make_key

VIEWER = "https://viewer.example.org"
PICTURE = picture_bytes(dark_square(), "JPEG")
Address = tuple[str, int]


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose network costs nothing."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the keys are."""
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(keys: Path) -> str:
    """A valid one."""
    return make_key(keys, "clinic")


def _proxied(settings: dict[str, str], folder: Path, key: str | None = None) -> Iterator[Address]:
    if reason := missing("nginx"):
        pytest.skip(reason)
    with Served(settings, key=key) as served, nginx_of_the_stack(served.address, folder) as address:
        yield address


@pytest.fixture(scope="module")
def proxy(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """nginx in front of a service that asks for no keys."""
    settings = {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_DEADLINE_SECONDS": "5"}
    yield from _proxied(settings, tmp_path_factory.mktemp("proxy"))


@pytest.fixture(scope="module")
def proxy_with_keys(
    tiny_bundle: Bundle, keys: Path, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Address]:
    """nginx in front of a service that asks for keys."""
    settings = {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_TRUSTED_PROXIES": "*", "CIN_CORS_ORIGINS": VIEWER}
    yield from _proxied(settings | {"CIN_KEYS": str(keys)}, tmp_path_factory.mktemp("keyed"), key)


def predict(proxy: Address, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.post(f"http://{proxy[0]}:{proxy[1]}/predict", files={"image": PICTURE}, headers=headers, timeout=30)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /metrics%0A HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (post(30 * 2**20), 413),
        (b"GET /-/admission HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
    ids=[
        "no host",
        "two hosts",
        "space before a colon",
        "gzip",
        "HTTP/2.0",
        "HTTP/9.9",
        "TLS",
        "a chunk of no size",
        "negative length",
        "TRACE",
        "metrics",
        "metrics and a line break",
        "long header",
        "long address",
        "large upload",
        "question about the caller",
    ],
)
def test_what_it_refuses_is_a_problem_of_the_known_types(proxy: Address, request_: bytes, status: int) -> None:
    with connect(proxy) as connection:
        connection.sendall(request_)
        answer = read_problem(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [status]
    assert f"Content-Type: {MEDIA_TYPE}".encode() in head
    problem = json.loads(body)
    types = {known.uri: (known.status, known.title) for known in PROBLEM_TYPES}
    assert types[problem["type"]] == (problem["status"], problem["title"]) == (status, problem["title"])


def test_a_stranger_without_a_key_is_refused_before_the_upload(proxy_with_keys: Address, key: str) -> None:
    for fields in ([], ["Authorization: Bearer cin_" + "A" * 43]):
        with connect(proxy_with_keys) as connection:
            connection.sendall(post(20_000_000, *fields) + b"\xff\xd8")
            answer = read_problem(connection)
        assert statuses(answer) == [401]
        assert b"\r\nwww-authenticate: bearer" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:cin:problem:unauthorized"
    assert predict(proxy_with_keys, key).status_code == 200
    assert predict(proxy_with_keys).status_code == 401


def test_slow_uploads_hold_no_place(proxy: Address) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(proxy)) for _ in range(36)]
        for connection in slow:
            connection.sendall(post(20_000_000) + b"\xff\xd8")
        time.sleep(0.3)
        assert [predict(proxy).status_code for _ in range(3)] == [200] * 3
        began = time.monotonic()
        for connection in slow:
            read_all(connection)
        assert time.monotonic() - began < 20


def test_an_upload_has_a_time_in_all(proxy: Address) -> None:
    with connect(proxy) as slow:
        slow.sendall(post(20_000_000) + b"\xff\xd8")
        slow.settimeout(0.5)
        answer, began = b"", time.monotonic()
        while not answer and time.monotonic() - began < 15:
            slow.sendall(b"\0")
            with suppress(TimeoutError):
                answer = slow.recv(65536)
        assert statuses(answer) == [408]
        assert time.monotonic() - began < 8


def test_uploads_fill_no_disk_and_no_memory(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for proxy in _proxied({"CIN_BUNDLE": str(tiny_bundle.folder)}, tmp_path):
        with ExitStack() as stack:
            for _ in range(8):
                connection = stack.enter_context(connect(proxy))
                connection.sendall(post(20_000_000) + b"\xff\xd8" + bytes(4_000_000))
            time.sleep(0.5)
            assert _bytes_of_open_files(tmp_path) < 100_000


def _bytes_of_open_files(folder: Path) -> int:
    """In a folder, also of files that were unlinked, as nginx does with its own."""
    total = 0
    for file in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            total += file.stat().st_size if str(file.readlink()).startswith(str(folder)) else 0
    return total


def test_a_replica_that_takes_no_uploads_gets_none(tiny_bundle: Bundle, tmp_path: Path) -> None:
    if reason := missing("nginx"):
        pytest.skip(reason)
    asked: list[str] = []

    class Full(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(429)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Not to the terminal."""

    full = ThreadingHTTPServer(("127.0.0.1", 0), Full)
    Thread(target=full.serve_forever, daemon=True).start()
    settings = {"CIN_BUNDLE": str(tiny_bundle.folder)}
    try:
        with (
            Served(settings) as served,
            nginx_of_the_stack(served.address, tmp_path, ("127.0.0.1", full.server_port)) as proxy,
        ):
            assert [predict(proxy).status_code for _ in range(10)] == [200] * 10
    finally:
        full.shutdown()
        full.server_close()
    assert set(asked) == {"/admission"}


@pytest.mark.parametrize("status", [404, 422, 431])
def test_an_upload_is_passed_on_when_the_question_has_no_answer(tmp_path: Path, status: int) -> None:
    if reason := missing("nginx"):
        pytest.skip(reason)

    class Earlier(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not to the terminal."""

    earlier = ThreadingHTTPServer(("127.0.0.1", 0), Earlier)
    Thread(target=earlier.serve_forever, daemon=True).start()
    try:
        with nginx_of_the_stack(("127.0.0.1", earlier.server_port), tmp_path) as proxy:
            assert predict(proxy).status_code == 200
    finally:
        earlier.shutdown()
        earlier.server_close()


def test_one_address_cannot_have_every_connection(proxy: Address) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(proxy)) for _ in range(70)]
        for connection in slow:
            connection.sendall(post(20_000_000) + b"\xff\xd8")
        time.sleep(0.5)
        answered, _, _ = select.select(slow, [], [], 0)
        answers = [connection.recv(65536) for connection in answered]
        assert [statuses(answer) for answer in answers] == [[429]] * 6
        assert all(b"urn:cin:problem:queue-full" in answer and b"Retry-After: 1" in answer for answer in answers)
        with socket.create_connection(proxy, timeout=5, source_address=("127.0.0.2", 0)) as other:
            other.sendall(post(len(PICTURE)) + PICTURE)
            assert other.recv(12) == b"HTTP/1.1 200"


def test_heads_that_never_end_lock_nobody_out(proxy: Address) -> None:
    """More of them than nginx took connections in its first version; each is closed after some seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with ExitStack() as stack:
            for _ in range(2300):
                unfinished = stack.enter_context(socket.create_connection(proxy, timeout=10))
                unfinished.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
            assert httpx.get(f"http://{proxy[0]}:{proxy[1]}/healthz", timeout=10).status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_log_of_refusals_quotes_no_request(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for address in _proxied({"CIN_BUNDLE": str(tiny_bundle.folder)}, tmp_path):
        request = b"GET /predictions/0123?patient=Smith HTTP/1.1\r\nHost: x\r\nReferer: http://pacs/Smith\r\n\r\n"
        with connect(address) as connection:
            connection.sendall(request * 400 + request.replace(b"Host", b"Connection: close\r\nHost"))
            assert 429 in statuses(read_all(connection))
        log = (tmp_path / "errors.log").read_text()
        assert "Smith" not in log
        assert "0123" not in log


@pytest.mark.parametrize("path", ["/predict", "/v1/predictions", "/v1/predictions/batch"])
def test_a_page_of_an_allowed_site_uploads_through_the_proxy(proxy_with_keys: Address, key: str, path: str) -> None:
    """Its browser asks first, without the key; what it then sends is answered to that site."""
    address = f"http://{proxy_with_keys[0]}:{proxy_with_keys[1]}{path}"
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = httpx.options(address, headers={**asking, "Origin": VIEWER})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, VIEWER)
    assert httpx.options(address, headers={**asking, "Origin": "https://elsewhere.example.org"}).status_code == 403
    sent = {"Origin": VIEWER, "Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {key}"}
    answer = httpx.post(address, files={"image": PICTURE}, headers=sent, timeout=30)
    assert answer.is_success
    assert answer.headers["access-control-allow-origin"] == VIEWER
    assert httpx.post(address, files={"image": PICTURE}, headers={**sent, "Authorization": "x"}).status_code == 401
