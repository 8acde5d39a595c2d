"""``cin serve`` as a process of its own, used over the wire."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest

from service.bundle import Bundle
from tests.service.waiting import wait_until
from tests.service.wire import PICTURE

_PROGRAM = "from service.cli.main import main; main()"

Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve(tiny_bundle: Bundle) -> Iterator[Serve]:
    """Start ``cin serve`` with settings; whatever still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def started(program: str = _PROGRAM, **settings: str) -> subprocess.Popen[str]:
        chosen = {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_PORT": "0", "CIN_PROVIDER": "cpu", **settings}
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve"],
            env={**chosen, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[str], *, wait: bool = True) -> tuple[str, int]:
    """What the greeting says."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"Serving at http://([\d.]+):(\d+)", line):
            host, port = match[1], int(match[2])
            if wait:
                _wait_for_port(host, port)
            return host, port
    raise AssertionError(f"no greeting; exit code {process.wait()}")


def _wait_for_port(host: str, port: int) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
        assert client.get(f"http://{host}:{port}/readyz").status_code == 200


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def test_a_session_over_the_wire(serve: Serve) -> None:
    process = serve()
    host, port = _address(process)
    with httpx.Client(base_url=f"http://{host}:{port}") as client:
        answer = client.post("/predict", files={"image": ("lesion.png", PICTURE)})
        assert answer.status_code == 200
        overlay = client.get(answer.json()["attention"]["correlation"])
        assert overlay.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == overlay.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
        assert client.get("/docs").status_code == 200
    code, errors = _end(process)
    assert code == 0
    assert "Traceback" not in errors
    assert answer.json()["id"] not in errors


# Says with its greeting whether its memory may be dumped: 0 for never.
_SAYS = """
import ctypes, service.cli.main as c, service.cli.serve as s
say = s._say_where
def say_more(listening):
    print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    say(listening)
s._say_where = say_more
c.main()
"""


def test_no_core_dump_holds_a_picture(serve: Serve) -> None:
    process = serve(_SAYS)
    assert process.stdout is not None
    assert process.stdout.readline() == "dumpable 0\n"
    _address(process)
    assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize("announced", [True, False])
def test_fifty_megabytes_are_refused_without_being_kept(serve: Serve, announced: bool) -> None:
    process = serve()
    host, port = _address(process)
    before = _peak_memory(process.pid)
    connection = HTTPConnection(host, port, timeout=20)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "image/jpeg")
    size = 50 * 2**20
    connection.putheader(*(("Content-Length", str(size)) if announced else ("Transfer-Encoding", "chunked")))
    connection.endheaders()
    # A server may hang up on the rest of what it has refused.
    with suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(50):
            chunk = b"\0" * 2**20
            connection.send(chunk if announced else b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if not announced:
            connection.send(b"0\r\n\r\n")
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["type"] == "urn:cin:problem:too-large"
    if before is not None:
        after = _peak_memory(process.pid)
        assert after is not None
        # What is not announced is read up to the limit of 20 MiB, held once in pieces.
        assert after - before < (8 if announced else 32) * 2**20
    assert _end(process)[0] == 0


def _peak_memory(pid: int) -> int | None:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(match[1]) * 1024 if match else None


def _half_sent(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=20)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
    connection.sendall(head.encode() + PICTURE[:100])
    return connection


def _wait_for_in_flight(host: str, port: int) -> None:
    for _ in range(500):
        text = httpx.get(f"http://{host}:{port}/metrics").text
        if "cin_requests_in_flight 2.0" in text:
            return
    raise AssertionError("the request never arrived")


def test_a_request_under_way_is_answered_before_the_end(serve: Serve) -> None:
    process = serve()
    host, port = _address(process)
    with _half_sent(host, port) as connection:
        _wait_for_in_flight(host, port)
        process.send_signal(signal.SIGTERM)
        with httpx.Client(base_url=f"http://{host}:{port}") as client:
            assert client.get("/admission").status_code == 503, "a proxy goes elsewhere before the port is closed"
            assert client.get("/readyz").status_code == 503
        _wait_until_refused(host, port)
        connection.sendall(PICTURE[100:])
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert process.wait(20) == 0


def _wait_until_refused(host: str, port: int) -> None:
    for _ in range(2000):
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            return
        time.sleep(0.005)
    raise AssertionError("the port stayed open")


def test_a_client_that_never_finishes_does_not_keep_the_service_from_ending(serve: Serve, tmp_path: Path) -> None:
    process = serve(CIN_SHUTDOWN_SECONDS="1", TMPDIR=str(tmp_path))
    host, port = _address(process)
    with _half_sent(host, port):
        _wait_for_in_flight(host, port)
        code, _ = _end(process)
    assert code == 0
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_quietly(serve: Serve) -> None:
    process = serve()
    _address(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_one_process_whatever_other_servers_are_told(serve: Serve) -> None:
    process = serve(WEB_CONCURRENCY="4")
    _address(process)
    (fork_server,) = psutil.Process(process.pid).children()
    assert len(fork_server.children()) == 1, "the decoder of the canary image"
    assert _end(process)[0] == 0


def test_a_busy_port_is_said_in_one_line(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = serve(CIN_PORT=str(other.getsockname()[1]))
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = errors.splitlines()
    assert "CIN_PORT" in line


# The canary lies from its second check on, as if the device had begun to err.
_LIAR = """
import service.inference.engine as e, service.cli.main as c
honest, calls = e.Engine.canary_difference, []
def lie(self):
    calls.append(1)
    return honest(self) if len(calls) == 1 else 0.5
e.Engine.canary_difference = lie
c.main()
"""


def test_a_wrong_canary_ends_the_process(serve: Serve) -> None:
    process = serve(_LIAR, CIN_CANARY_SECONDS="0.2")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("cin: the canary image's probabilities differ by 0.5")


def test_it_says_not_ready_for_a_while_before_it_ends(serve: Serve) -> None:
    process = serve(_LIAR, CIN_CANARY_SECONDS="0.2", CIN_FAREWELL_SECONDS="2")
    host, port = _address(process, wait=False)
    with httpx.Client(base_url=f"http://{host}:{port}", transport=httpx.HTTPTransport(retries=10)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 503, "the lie is found out")
        metrics = client.get("/metrics").text
        assert client.post("/predict", files={"image": ("lesion.png", PICTURE)}).status_code == 503
    assert "cin_canary_ok 0.0" in metrics
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("cin: the canary image's probabilities differ by 0.5")


# A disk that hangs once the service takes requests.
_HANGS = """
import os, time, service.cli.main as c, service.cli.serve as s
s._LEAVE_SECONDS = 1.0
say = s._say_where
def hang(listening):
    os.fdatasync = lambda file: time.sleep(60)
    say(listening)
s._say_where = hang
c.main()
"""


def test_a_disk_that_hangs_does_not_keep_the_service_from_ending(serve: Serve, tmp_path: Path) -> None:
    process = serve(_HANGS, CIN_SHUTDOWN_SECONDS="1", CIN_AUDIT=str(tmp_path / "audit.jsonl"))
    host, port = _address(process)
    assert httpx.get(f"http://{host}:{port}/healthz").status_code == 200
    code, errors = _end(process)
    assert code == 1
    assert "ended without it" in errors
