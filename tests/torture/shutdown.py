"""SIGTERM in every state: what is under way is answered, nothing holds the service up for longer than it was told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.torture.plan import Plan
from tests.torture.rows import Row, at_most, none_of
from tests.torture.served import Served
from tests.torture.sockets import connect, get, post, read_all, statuses

Crowd = list[socket.socket]
State = Callable[[Served, bytes, ExitStack], Crowd]

# Time that shutting down takes in addition to waiting for clients.
SLACK_SECONDS = 5.0


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Every state, in a service of its own each."""
    data = picture.read_bytes()
    for name, (enter, answers) in STATES.items():
        settings = plan.settings() | {"CIN_SHUTDOWN_SECONDS": str(plan.shutdown_seconds)}
        with Served(settings) as served, ExitStack() as stack:
            crowd = enter(served, data, stack)
            answered: list[int] = []
            readers = [threading.Thread(target=_read_into, args=(answered, connection)) for connection in crowd]
            if answers:
                for reader in readers:
                    reader.start()
            began = time.monotonic()
            code = served.end()
            took = time.monotonic() - began
            for reader in readers if answers else ():
                reader.join(timeout=10)
            log = "".join(served.log)
        yield at_most(f"SIGTERM, {name}: seconds to the end", took, plan.shutdown_seconds + SLACK_SECONDS)
        yield none_of(f"SIGTERM, {name}: exit code", code)
        yield none_of(f"SIGTERM, {name}: tracebacks in the log", log.count("Traceback"))
        if answers:
            lost = len(crowd) - sum(status in answers for status in answered)
            yield none_of(f"SIGTERM, {name}: of {len(crowd)} requests under way not answered", lost)


def _read_into(answered: list[int], connection: socket.socket) -> None:
    answered.extend(statuses(read_all(connection)))


def _idle(*_: object) -> Crowd:
    return []


def _kept_alive(served: Served, _: bytes, stack: ExitStack) -> Crowd:
    crowd = [stack.enter_context(connect(served.address)) for _ in range(5)]
    for connection in crowd:
        connection.sendall(get("/healthz"))
        connection.recv(65536)
    return crowd


def _in_flight(served: Served, picture: bytes, stack: ExitStack, number: int = 2) -> Crowd:
    crowd = [stack.enter_context(connect(served.address)) for _ in range(number)]
    for connection in crowd:
        connection.sendall(post(len(picture)) + picture)
    ends = time.monotonic() + 30
    while _begun(served) < number and time.monotonic() < ends:
        pass
    return crowd


def _begun(served: Served) -> float:
    """Pictures answered or under way."""
    answered = served.metric("cin_requests_total", route="/predict")
    return answered + served.metric("cin_requests_in_flight") - 1


def _full_queue(served: Served, picture: bytes, stack: ExitStack) -> Crowd:
    return _in_flight(served, picture, stack, number=64)


def _slow_headers(served: Served, _: bytes, stack: ExitStack) -> Crowd:
    crowd = [stack.enter_context(connect(served.address)) for _ in range(5)]
    for connection in crowd:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
    time.sleep(0.2)
    return crowd


def _slow_bodies(served: Served, picture: bytes, stack: ExitStack) -> Crowd:
    crowd = [stack.enter_context(connect(served.address)) for _ in range(5)]
    for connection in crowd:
        connection.sendall(post(len(picture)) + picture[:1000])
    time.sleep(0.2)
    return crowd


def _slow_readers(served: Served, _: bytes, stack: ExitStack) -> Crowd:
    crowd = [stack.enter_context(connect(served.address, receive_buffer=4096)) for _ in range(3)]
    for _round in range(100):
        for connection in crowd:
            connection.setblocking(False)
            try:
                connection.send(get("/openapi.json"))
            except OSError:
                continue
        time.sleep(0.02)
    return crowd


# How to bring it about, and with what those clients must be answered, if at all: a full queue takes longer than the
# service is given.
STATES: dict[str, tuple[State, frozenset[int]]] = {
    "idle": (_idle, frozenset()),
    "connections kept alive": (_kept_alive, frozenset()),
    "pictures under way": (_in_flight, frozenset({200})),
    "full queue": (_full_queue, frozenset({200, 429, 503})),
    "slow headers": (_slow_headers, frozenset()),
    "slow bodies": (_slow_bodies, frozenset()),
    "slow readers": (_slow_readers, frozenset()),
}
