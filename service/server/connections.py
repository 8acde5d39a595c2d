"""Limits of client connections: deadlines, bytes of headers, and the number of connections.

Uvicorn waits for a client forever. Here the request's head, its body and the reading of the answer have deadlines; when
all connections are in use, the one that has been silent longest is closed for the next.
"""

from __future__ import annotations

import asyncio
import http
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.problems import HEAD_TOO_LARGE, MALFORMED, NOT_READY, REQUEST_TIMEOUT, ProblemType, problem_response

Closed = Literal["head_timeout", "body_timeout", "unread", "head_too_large", "malformed", "pipelined", "too_many"]

# Bytes a second at which a client must read an answer.
_READING_PACE = 16_000
_MOST_PIPELINED = 16
# Seconds in which a new connection may have sent bytes that were not read yet.
_YOUNG_SECONDS = 0.25


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of a client; times in seconds."""

    max_connections: int = 512
    max_head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    stall_seconds: float = 20.0  # without a byte of the body, or of reading
    body_seconds: float = 35.0


class Guard:
    """Enforces the limits on all connections of a server; lives on one event loop."""

    def __init__(self, limits: ConnectionLimits, on_close: Callable[[Closed], object] = lambda reason: None) -> None:
        """``on_close`` gets the reason for which a connection was closed by a limit."""
        self.limits, self.on_close = limits, on_close
        self._open: set[GuardedProtocol] = set()
        # Connections that wait for their client, the longest silent one first.
        self._silent: OrderedDict[GuardedProtocol, None] = OrderedDict()
        shortest = min(limits.head_seconds, limits.stall_seconds, limits.body_seconds)
        self._interval = min(1.0, shortest / 4)
        self._next_sweep: asyncio.TimerHandle | None = None

    def protocol(self, *arguments: Any, **named: Any) -> GuardedProtocol:
        """A connection's protocol; Uvicorn's ``http`` setting takes this method."""
        return GuardedProtocol(self, *arguments, **named)

    def admit(self, connection: GuardedProtocol) -> bool:
        """Whether a new connection may stay; closes a silent one for it if need be."""
        now = connection.loop.time()
        if len(self._open) >= self.limits.max_connections:
            oldest = next(iter(self._silent), None)
            if oldest is None or now - oldest.heard < _YOUNG_SECONDS:
                return False
            self.forget(oldest)
            oldest.give_up("too_many")
        self._open.add(connection)
        self._sweep_later(connection.loop)
        return True

    def forget(self, connection: GuardedProtocol) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)
        self._silent.pop(connection, None)

    def wait_for(self, connection: GuardedProtocol) -> None:
        """Note that the client sent something and is to send more."""
        if connection in self._open:
            self._silent[connection] = None
            self._silent.move_to_end(connection)

    def is_served(self, connection: GuardedProtocol) -> None:
        """Note that the service is working on an answer."""
        self._silent.pop(connection, None)

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Schedule one check of all connections, unless one is scheduled."""
        if self._next_sweep is None:
            self._next_sweep = loop.call_later(self._interval, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_sweep = None
        for connection in list(self._open):
            connection.check(loop.time())
        if self._open:
            self._sweep_later(loop)


class GuardedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol for one connection, with a deadline for everything it waits for."""

    def __init__(self, guard: Guard, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._guard, self._limits = guard, guard.limits
        self._reads: Literal["nothing", "head", "body"] = "nothing"
        self._since = self.heard = self.loop.time()
        self._head_bytes = self._loose_bytes = 0
        self._must_be_read_by: float | None = None
        self._answered: RequestResponseCycle | None = None
        self._refusal = MALFORMED, "this is not HTTP, or not a request this server takes"

    # What the client does

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        if self._guard.admit(self):
            self._guard.wait_for(self)
        else:
            self._refuse("too_many", NOT_READY, "too many connections at once; try again shortly")

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._guard.forget(self)
        self._tell_disconnected()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self.transport.is_closing():
            return
        self.heard = self.loop.time()
        self._loose_bytes += len(data)
        if not self._is_answering():
            self._guard.wait_for(self)
        super().data_received(data)
        if self._loose_bytes > self._limits.max_head_bytes:
            self._too_large()
            self.send_400_response("")

    # What the parser finds

    def on_message_begin(self) -> None:
        """First byte of a request; the first request's time runs from the connection's beginning."""
        if self.cycle is not None:
            self._since = self.loop.time()
        self._reads, self._head_bytes = "head", 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request's URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End of the head."""
        self._reads, self._since, self._loose_bytes = "body", self.loop.time(), 0
        super().on_headers_complete()
        if not self.pipeline:
            self._answered = self.cycle
        if len(self.pipeline) > _MOST_PIPELINED:
            self._guard.on_close("pipelined")
            self.transport.abort()
            raise ValueError("too many requests before the first answer")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End of the request."""
        self._reads, self._loose_bytes = "nothing", 0
        if self._is_answering():
            self._guard.is_served(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written, but perhaps not read yet."""
        self._since = self.loop.time() if self._reads != "body" else self._since
        if self.pipeline:
            self._answered = self.pipeline[-1][0]
        super().on_response_complete()
        if not self._is_answering():
            self._guard.wait_for(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - what Uvicorn would say
        """Refuse a malformed request, once the requests before it are answered."""
        if self.transport.is_closing():
            return
        if self.pipeline or (self._reads != "body" and self._is_answering()):
            self.cycle.keep_alive = False
        else:
            problem, detail = self._refusal
            self._refuse("malformed" if problem is MALFORMED else "head_too_large", problem, detail)

    # What time does

    def check(self, now: float) -> None:
        """Close the connection when the client is past a deadline."""
        if self._is_left_unread(now):
            self.give_up("unread")
        elif self.transport.is_closing() or self.flow.read_paused or (self._reads != "body" and self._is_answering()):
            self.heard = now
        elif self._reads == "body":
            self._check_body(now)
        elif now - self._since > self._limits.head_seconds:
            if self._reads == "head":
                self._refuse("head_timeout", REQUEST_TIMEOUT, "the request's headers did not arrive in time")
            else:
                self.give_up("head_timeout")

    def _check_body(self, now: float) -> None:
        if now - self.heard > self._limits.stall_seconds or now - self._since > self._limits.body_seconds:
            if self.cycle.response_started:
                self.give_up("body_timeout")
            else:
                self._refuse(
                    "body_timeout", REQUEST_TIMEOUT, "the request's body did not arrive in time; send it again"
                )

    def _is_left_unread(self, now: float) -> bool:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._must_be_read_by = None
        elif self._must_be_read_by is None:
            self._must_be_read_by = now + self._limits.stall_seconds + unread / _READING_PACE
        return self._must_be_read_by is not None and now > self._must_be_read_by

    def give_up(self, reason: Closed) -> None:
        """Close at once."""
        self._guard.on_close(reason)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops: clients may read their answers until just before its own deadline."""
        super().shutdown()
        patience = self.config.timeout_graceful_shutdown
        if patience is not None:
            self.loop.call_later(0.9 * patience, self.transport.abort)

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`: the client has read nearly everything."""
        self._must_be_read_by = None
        super().resume_writing()

    # Helpers

    def _is_answering(self) -> bool:
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _count(self, num_bytes: int) -> None:
        self._loose_bytes = 0
        self._head_bytes += num_bytes
        if self._head_bytes > self._limits.max_head_bytes:
            self._too_large()
            raise ValueError("the head is too large")

    def _too_large(self) -> None:
        detail = f"the address and headers have more than {self._limits.max_head_bytes:,} bytes; send fewer"
        self._refusal = HEAD_TOO_LARGE, detail

    def _tell_disconnected(self) -> None:
        """Tell every pending request that the client left; Uvicorn tells only the last one."""
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def _refuse(self, reason: Closed, problem: ProblemType, detail: str) -> None:
        """Send the problem and close."""
        self._guard.on_close(reason)
        response = problem_response(problem, detail, {"Connection": "close", "Cache-Control": "no-store"})
        lines = [b"HTTP/1.1 %d %s" % (problem.status, http.HTTPStatus(problem.status).phrase.encode())]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        self._tell_disconnected()
        self.transport.close()
