"""Requests that are refused before all of them has arrived: clients read the refusal, and cannot send on for long."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service.bundle import Bundle
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.waiting import wait_until
from tests.torture.served import PROGRAM, Served
from tests.torture.sockets import connect, read_all, statuses

PICTURE = picture_bytes(dark_square(), "JPEG")
MB = 2**20
CASES = {
    "too large": ("POST /predict", "Content-Type: image/jpeg", 413),
    "no image": ("POST /predict", "Content-Type: text/plain", 415),
    "no such address": ("POST /nothing", "Content-Type: image/jpeg", 404),
    "no such method": ("PUT /predict", "Content-Type: image/jpeg", 405),
    "parameter": ("POST /predict?operating_point=x", "Content-Type: image/jpeg", 400),
    "other site": ("POST /predict", "Content-Type: image/jpeg\r\nSec-Fetch-Site: cross-site", 403),
}


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle) -> Iterator[Served]:
    """A service."""
    with Served({"CIN_BUNDLE": str(tiny_bundle.folder)}) as service:
        yield service


def send_all(connection: socket.socket, start: str, fields: str, size: int, *, chunked: bool, pause: float) -> bytes:
    """Send a whole request before reading anything; all that comes back."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    connection.sendall(f"{start} HTTP/1.1\r\nHost: x\r\n{fields}\r\n{length}\r\n\r\n".encode())
    piece = bytes(min(size, 64 * 1024))
    for _ in range(size // len(piece)):
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        time.sleep(pause)
    if chunked:
        connection.sendall(b"0\r\n\r\n")
    return read_all(connection)


@pytest.mark.parametrize("close", ["", "\r\nConnection: close"], ids=["keep-alive", "close"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("case", CASES)
def test_who_writes_everything_first_reads_the_refusal(served: Served, case: str, chunked: bool, close: str) -> None:
    start, fields, status = CASES[case]
    with connect(served.address) as connection:
        answer = send_all(connection, start, fields + close, 40 * MB, chunked=chunked, pause=0)
    assert statuses(answer) == [status]
    assert b"connection: close" in answer.lower()


def test_who_writes_slowly_reads_the_refusal(served: Served) -> None:
    def ask(case: str) -> list[int]:
        start, fields, _ = CASES[case]
        with connect(served.address) as connection:
            return statuses(send_all(connection, start, fields, 25 * MB, chunked=False, pause=0.005))

    with ThreadPoolExecutor(len(CASES)) as pool:
        assert list(pool.map(ask, CASES)) == [[status] for _, _, status in CASES.values()]


def test_who_never_ends_is_cut_off(served: Served) -> None:
    piece, sent = bytes(MB), 0
    with connect(served.address) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 1000:
                connection.sendall(b"100000\r\n" + piece + b"\r\n")
                sent += 1
    assert sent < 200
    assert httpx.get(f"{served.url}/healthz").status_code == 200


def test_who_neither_sends_on_nor_closes_is_closed(served: Served) -> None:
    wait_until(lambda: served.metric("cin_requests_in_flight") == 1)
    before = served.num_files()
    with connect(served.address) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert statuses(read_all(connection)) == [404]
        assert served.num_files() == before + 1
        wait_until(lambda: served.num_files() == before, "it is closed", seconds=20)


@pytest.mark.parametrize("options", [["--http2"], ["--http1.0"], ["--header", "Expect: 100-continue"], []])
def test_curl_gets_its_answer_whatever_it_wishes(served: Served, options: list[str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "lesion.jpg").write_bytes(PICTURE)
    form = f"image=@{tmp_path / 'lesion.jpg'}"
    done = subprocess.run(
        ["curl", "--silent", *options, "--form", form, f"{served.url}/predict"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["probabilities"]


def test_few_open_files_do_not_lock_others_out(tiny_bundle: Bundle) -> None:
    program = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); {PROGRAM}"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 40
    with Served({"CIN_BUNDLE": str(tiny_bundle.folder)}, program=program) as few:
        silent = [connect(few.address) for _ in range(5)]
        for _ in range(12):
            silent += [connect(few.address) for _ in range(5)]
            time.sleep(0.1)
        time.sleep(0.3)
        try:
            for _ in range(5):
                assert httpx.post(f"{few.url}/predict", files={"image": PICTURE}).status_code == 200
        finally:
            for connection in silent:
                connection.close()
        assert few.metric("cin_connections_closed_total", reason="too_many") > 0
    assert any("open files" in line for line in few.log)
