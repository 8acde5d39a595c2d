"""A server on this machine that misbehaves in every way the network knows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BODY = bytes(range(256)) * 40


@dataclass
class Fault:
    """What goes wrong in one answer; the defaults are a sound server's."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    extra: bytes = b""
    length: int | None = None
    no_length: bool = False
    ignore_range: bool = False
    ignore_if_range: bool = False
    shift_range: int = 0


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path; ``faults`` are used up one for each answer, ``requests`` holds what came in."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file": BODY}
        self.faults: list[Fault] = []
        self.requests: list[dict[str, str]] = []
        self.etags = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def ranges(self) -> list[str | None]:
        """The range of each request, None without one."""
        return [request.get("Range") for request in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def running_server() -> Iterator[Server]:
    """A server in a thread of its own."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


class Handler(BaseHTTPRequestHandler):
    """Answers one request, with the next fault if there is one."""

    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self.server.requests.append({"path": self.path, **dict(self.headers.items())})
        fault = self.server.faults.pop(0) if self.server.faults else Fault()
        body = self.server.files.get(self.path)
        if fault.status or body is None:
            self.send_response(fault.status or 404)
            self._headers({"Content-Length": "0", **fault.headers})
            return
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        versions = {"ETag": etag} if self.server.etags else {}
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        current = fault.ignore_if_range or self.headers.get("If-Range", etag) == etag
        if "Range" in self.headers and current and not fault.ignore_range:
            if first >= len(body):
                self.send_response(416)
                self._headers({"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            rest = body[first:]
            self.send_response(206)
            extra = {"Content-Range": f"bytes {first + fault.shift_range}-{len(body) - 1}/{len(body)}"}
        else:
            rest, extra = body, {}
            self.send_response(200)
        length = {} if fault.no_length else {"Content-Length": str(fault.length or len(rest))}
        self._headers({**length, **versions, **extra, **fault.headers})
        self.wfile.write((rest if fault.drop_after is None else rest[: fault.drop_after]) + fault.extra)

    def _headers(self, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
