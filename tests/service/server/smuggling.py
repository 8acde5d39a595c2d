"""Send framings to a server or a proxy in front of it, and see who gets which answer."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from service.server.connections import ConnectionLimits, Guard
from tests.service.server.framings import FRAMINGS

Address = tuple[str, int]

_ANSWER = re.compile(rb"HTTP/1\.[01] (?!1\d\d)(\d{3})[^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_PATH = re.compile(rb"^x-path: (\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Echo:
    """A server that answers every request with its path, and remembers it."""

    reads_bodies: bool
    address: Address = ("", 0)
    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """One request."""
        assert scope["type"] == "http"
        path = scope["path"]
        self.seen.append(path)
        while self.reads_bodies:
            message = await receive()
            if message["type"] != "http.request" or not message["more_body"]:
                break
        headers = [(b"x-path", path.encode()), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})


@contextmanager
def echoing(*, reads_bodies: bool) -> Iterator[Echo]:
    """An echo behind the connections that ``cin serve`` has, in a thread."""
    echo = Echo(reads_bodies)
    limits = ConnectionLimits(head_seconds=3, stall_seconds=3, body_seconds=3)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        echo.address = listening.getsockname()
        config = uvicorn.Config(
            echo,
            http=Guard(limits).protocol,  # type: ignore[arg-type]
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield echo
        finally:
            server.should_exit = True
            thread.join()


def violations(echo: Echo, front: Address) -> dict[str, str]:
    """Send every framing to ``front``, whole and in two parts; what went wrong, by framing.

    Never two answers to one request, and never another client's answer.
    """
    sent = [(name, framing, cut) for name, framing in FRAMINGS.items() for cut in (False, True)]

    def attack(number: int) -> tuple[str, str]:
        name, framing, cut = sent[number]
        return name, _attack(echo, front, number, framing, cut=cut)

    echo.seen.clear()
    with ThreadPoolExecutor(32) as pool:
        return {name: wrong for name, wrong in pool.map(attack, range(len(sent))) if wrong}


def _attack(echo: Echo, front: Address, number: int, framing: bytes, *, cut: bool) -> str:
    # A path inside a body keeps its length.
    tag = b"%03d" % number
    own = framing.replace(b"/attack", b"/a-" + tag).replace(b"/smuggled", b"/smug-" + tag)
    body = own.find(b"GET /smug")
    with socket.create_connection(front, timeout=10) as connection:
        with suppress(OSError):
            if cut:
                connection.sendall(own[:body])
                time.sleep(0.1)
            connection.sendall(own[body:] if cut else own)
            connection.sendall(b"GET /next-%s HTTP/1.1\r\nHost: x\r\n\r\n" % tag)
        answers = _answers(_received(connection, seconds=0.5))
        victim = _ask(front, f"/victim-{tag.decode()}")
    if f"/smug-{tag.decode()}" in echo.seen:
        return f"the body was read as a request: {answers}"
    if victim != f"/victim-{tag.decode()}":
        return f"another client got the answer to {victim}"
    expected = (f"/a-{tag.decode()}", f"/next-{tag.decode()}")
    if len(answers) > 2 or any(path not in ("", own) for (_, path), own in zip(answers, expected, strict=False)):
        return f"answers {answers}"
    return ""


def _received(connection: socket.socket, *, seconds: float) -> bytes:
    """What arrives until there is a pause."""
    received = b""
    connection.settimeout(seconds)
    with suppress(OSError):
        while part := connection.recv(65536):
            received += part
            if received.count(b"x-path") == 2:
                connection.settimeout(0.02)
    return received


def _answers(received: bytes) -> list[tuple[int, str]]:
    """The status and the path of each answer."""
    answers = []
    for head in _ANSWER.finditer(received):
        path = _PATH.search(head[2])
        answers.append((int(head[1]), path[1].decode() if path else ""))
    return answers


def _ask(front: Address, path: str) -> str:
    with socket.create_connection(front, timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answers = _answers(_received(connection, seconds=10))
    return answers[0][1] if len(answers) == 1 else f"{answers}"
