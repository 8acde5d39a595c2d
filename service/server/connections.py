"""Limits of client connections: deadlines, bytes of headers, and the number of connections.

Uvicorn waits for a client forever. Here the request's head, its body and the client's reading of the answer have
deadlines; when all connections are in use, a new one replaces a silent one (:mod:`service.server.eviction`).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from service.admission.rate_limit import address_group
from service.problems import HEAD_TOO_LARGE, MALFORMED, NOT_READY, REQUEST_TIMEOUT, ProblemType, problem_response
from service.server.eviction import gives_way
from service.server.lingering import LingeringTransport
from service.server.open_files import room_for_connections
from service.server.strict_http import MAX_HEADERS, MAX_TARGET_BYTES, StrictConnection

Closed = Literal["head_timeout", "body_timeout", "unread", "head_too_large", "malformed", "pipelined", "too_many"]
Phase = Literal["head", "body", "answer", "closing"]

# Bytes a second at which a client must read an answer.
_READING_PACE = 16_000
_MOST_PIPELINED = 16
# What a client may send after its answer, and how long it may be silent then.
_MOST_DISCARDED = 128 * 2**20
_LINGER_SECONDS = 5.0
# The parser copies its input several times; for larger pieces each copy allocates new pages.
_PIECE = 64 * 2**10
# Seconds of CPU time to parse one read. Clients whose data take longer (small chunks, many headers) wait, one after the
# other, so that together they use a fifth of the event loop's time.
_CHEAP_SECONDS = 0.002
_WAIT_FOR_EACH_SECOND = 4.0


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of a client; times in seconds."""

    max_connections: int = 512
    spare_files: int = 0  # that open later, for other purposes
    max_head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    stall_seconds: float = 20.0  # without a byte received, or read by the client
    body_seconds: float = 35.0


class Guard:
    """Enforces the limits on all connections of a server; lives on one event loop."""

    def __init__(self, limits: ConnectionLimits, on_close: Callable[[Closed], object] = lambda reason: None) -> None:
        """``on_close`` gets the limit that closed a connection."""
        self.limits, self.on_close = limits, on_close
        self._open: set[GuardedProtocol] = set()
        self._most: int | None = None
        shortest = min(limits.head_seconds, limits.stall_seconds, limits.body_seconds)
        self._interval = min(1.0, shortest / 4)
        self._next_sweep: asyncio.TimerHandle | None = None
        self._paid_until = 0.0

    def protocol(self, *arguments: Any, **named: Any) -> GuardedProtocol:
        """A connection's protocol; Uvicorn's ``http`` setting takes this method."""
        return GuardedProtocol(self, *arguments, **named)

    def admit(self, connection: GuardedProtocol) -> bool:
        """Whether a new connection may stay; closes another one if there is no room."""
        if self._most is None:  # by the first connection the service has opened its own files
            self._most = room_for_connections(self.limits.max_connections, spare=self.limits.spare_files)
        if len(self._open) >= self._most:
            other = gives_way(self._open, connection, connection.loop.time())
            if other is None:
                return False
            self.forget(other)
            other.give_up("too_many")
        self._open.add(connection)
        self._sweep_later(connection.loop)
        return True

    def forget(self, connection: GuardedProtocol) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)

    def charge(self, connection: GuardedProtocol, seconds: float) -> None:
        """Make a client wait when its last bytes took too long to parse."""
        if seconds > _CHEAP_SECONDS:
            now = connection.loop.time()
            self._paid_until = max(now, self._paid_until) + _WAIT_FOR_EACH_SECOND * seconds
            connection.transport.hold()
            connection.loop.call_at(self._paid_until, connection.transport.release)

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


class GuardedProtocol(H11Protocol):
    """Uvicorn's protocol for one connection, with a deadline for everything it waits for."""

    transport: LingeringTransport  # type: ignore[assignment]

    def __init__(self, guard: Guard, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._guard, self._limits = guard, guard.limits
        self.conn = StrictConnection(guard.limits.max_head_bytes)
        self._phase: Phase = "head"
        self._since = self.heard = self.loop.time()
        self._num_pipelined = self._num_discarded = 0
        self._must_be_read_by: float | None = None

    # Events from the client

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(LingeringTransport(transport, self._may_still_send))  # type: ignore[arg-type]
        self.address = address_group(self.client[0] if self.client else "")
        if not self._guard.admit(self):
            self._refuse("too_many", NOT_READY, "too many connections at once; try again shortly")

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self.heard = self.loop.time()
        self._num_pipelined = 0
        began = time.thread_time()
        for start in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                self._discard(len(data) - start)
                return
            super().data_received(data[start : start + _PIECE])
        self._guard.charge(self, time.thread_time() - began)
        self._enter_phase()

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`: the client has read nearly everything."""
        self._must_be_read_by = None
        super().resume_writing()

    # Events from the server

    def on_response_complete(self) -> None:
        """The answer was written, though perhaps not read; a pipelined request begins."""
        answered = self.cycle
        super().on_response_complete()
        self._enter_phase()
        if self.cycle is not answered:
            self._num_pipelined += 1
            if self._num_pipelined > _MOST_PIPELINED:
                self.give_up("pipelined")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - Uvicorn's own text
        """Answer a request that the parser has just rejected."""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            most = self._limits.max_head_bytes
            detail = (
                f"the address has more than {MAX_TARGET_BYTES:,} bytes, or with headers {most:,}, "
                f"or there are more than {MAX_HEADERS} headers; send fewer"
            )
            self._refuse("head_too_large", HEAD_TOO_LARGE, detail)
        else:
            self._refuse("malformed", MALFORMED, "this is not HTTP, or not a request this server takes")

    def shutdown(self) -> None:
        """The server stops: clients may read their answers until just before it aborts the connections."""
        if not self.transport.is_closing():
            super().shutdown()
            if self.transport.lingers:  # no answer left to read
                self.transport.end()
        patience = self.config.timeout_graceful_shutdown
        if patience is not None:
            self.loop.call_later(0.9 * patience, self.transport.abort)

    def give_up(self, reason: Closed) -> None:
        """Close at once, with data still to be sent or received."""
        self._guard.on_close(reason)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.end()

    # Deadlines

    @property
    def awaits_client(self) -> bool:
        """Whether it is the client's turn."""
        phase = self._enter_phase()
        return phase == "closing" or (phase != "answer" and not self.flow.read_paused)

    def check(self, now: float) -> None:
        """Close the connection if its client is past a deadline."""
        phase = self._enter_phase()
        if self._is_left_unread(now):
            self.give_up("unread")
        elif phase == "closing":
            self._check_lingering(now)
        elif phase == "answer" or self.flow.read_paused:
            self.heard = now
        elif phase == "body":
            stalled = not self.transport.holds and now - self.heard > self._limits.stall_seconds
            if stalled or now - self._since > self._limits.body_seconds:
                detail = "the request's body did not arrive in time; send it again"
                self._refuse("body_timeout", REQUEST_TIMEOUT, detail)
        elif now - self._since > self._limits.head_seconds:
            if self.conn.trailing_data[0]:
                self._refuse("head_timeout", REQUEST_TIMEOUT, "the request's headers did not arrive in time")
            else:
                self.give_up("head_timeout")

    def _check_lingering(self, now: float) -> None:
        if self.transport.get_write_buffer_size():  # the client is reading
            self.heard = self._since = now
        elif now - self.heard > _LINGER_SECONDS or now - self._since > self._limits.body_seconds:
            self.transport.abort()

    def _is_left_unread(self, now: float) -> bool:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._must_be_read_by = None
        elif self._must_be_read_by is None:
            self._must_be_read_by = now + self._limits.stall_seconds + unread / _READING_PACE
        return self._must_be_read_by is not None and now > self._must_be_read_by

    # Helpers

    def _enter_phase(self) -> Phase:
        """The current phase; records when it began."""
        phase: Phase
        if self.transport.is_closing():
            phase = "closing"
        elif self.conn.their_state is h11.SEND_BODY:
            phase = "body"
        else:
            phase = "head" if self.cycle is None or self.cycle.response_complete else "answer"
        if phase != self._phase:
            self._phase, self._since = phase, self.loop.time()
        return phase

    def _may_still_send(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR) or bool(self.conn.trailing_data[0])

    def _discard(self, num_bytes: int) -> None:
        self._num_discarded += num_bytes
        if self._num_discarded > _MOST_DISCARDED:
            self.transport.abort()

    def _refuse(self, reason: Closed, problem: ProblemType, detail: str) -> None:
        """Answer with the problem, unless an answer has begun, and close."""
        self._guard.on_close(reason)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = problem_response(problem, detail, {"Connection": "close", "Cache-Control": "no-store"})
            head = h11.Response(
                status_code=problem.status, headers=response.raw_headers, reason=STATUS_PHRASES[problem.status]
            )
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
