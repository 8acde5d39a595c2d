"""Clients that are slow, silent, many, or gone: they are closed in time, others are served, nothing is left of them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from service.server.connections import ConnectionLimits
from tests.torture.others import Others
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_most, goal, none_of, p99
from tests.torture.served import Served
from tests.torture.sockets import connect, get, post

# Beyond a deadline: the interval at which deadlines are looked at, and what a busy machine adds.
SLACK_SECONDS = 5.0

MOST_HEALTH_MS = 50.0

# How long the attacks last that the service ends at once.
BRIEF_SECONDS = 3.0
# Clients that come and go; more from one address is what a proxy's limits are for.
A_SECOND = 200

# Says how many attackers the service had not closed when it gave up waiting.
Attack = Callable[[Served, Plan, bytes], int]


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Every attack, one after the other, on one service."""
    health: list[float] = []
    with Served(plan.settings()) as served:
        with Others(served.url, picture):
            time.sleep(3)  # the first pictures pay for what every later one uses again
        _settle(served)
        files, memory = served.num_files(), served.rss_megabytes()
        for name, (attack, seconds) in _attacks(plan).items():
            with Others(served.url, picture) as others:
                began = time.monotonic()
                open_still = attack(served, plan, picture.read_bytes())
                took = time.monotonic() - began
            health += others.seen["health_ms"]
            yield from others.rows(name)
            yield none_of(f"{name}: attackers that were never closed", open_still)
            limit = seconds + SLACK_SECONDS
            yield goal(at_most(f"{name}: seconds until the last attacker was closed", took, limit))
        for name, others in _slowhttptest(served, plan, picture):
            health += others.seen["health_ms"]
            yield from others.rows(name)
        yield goal(at_most(f"all attacks: p99 of /healthz in ms, of {len(health)} asked", p99(health), MOST_HEALTH_MS))
        _settle(served)
        yield none_of("after all attacks: file descriptors left open", max(0, served.num_files() - files - 2))
        yield none_of("after all attacks: requests still under way", served.metric("cin_requests_in_flight") - 1)
        yield none_of("after all attacks: places still taken", served.metric("cin_queue_places_taken"))
        yield at_most("after all attacks: MB of memory more than before", served.rss_megabytes() - memory, 100)


def _attacks(plan: Plan) -> dict[str, tuple[Attack, float]]:
    """Each with the time after which the service must have closed every attacker."""
    head, stall = plan.head_seconds, plan.stall_seconds
    return {
        "silent connections": (_silent, head),
        "slow headers": (_slow_headers, head),
        "slow bodies": (_slow_bodies, 1.2 * plan.deadline_seconds),
        "bodies that stop": (_stopped_bodies, stall),
        "answers that are not read": (_unread, 2 * stall + 60),
        "all connections kept busy from one address": (_busy, 2 * BRIEF_SECONDS),
        f"connections opened and closed, {A_SECOND} a second": (_knocks, BRIEF_SECONDS),
        f"uploads abandoned half-way, {A_SECOND} a second": (_abandoned, BRIEF_SECONDS),
        "half-closed clients": (_half_closed, 2.0),
        "pipelined floods": (_pipelined, 2.0),
        "headers without end": (_header_floods, 2.0),
    }


@contextmanager
def _crowd(served: Served, number: int, **options: Any) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(served.address, **options)) for _ in range(number)]


def _until_all_closed(crowd: list[socket.socket], piece: bytes | None = None, *, within: float = 90.0) -> int:
    """Send each a piece every second until the service has closed them all; how many it has not."""
    alive, ends = set(crowd), time.monotonic() + within
    for connection in crowd:
        connection.setblocking(False)
    while alive and time.monotonic() < ends:
        for connection in list(alive):
            try:
                if not connection.recv(65536):
                    alive.discard(connection)
            except BlockingIOError:
                with suppress(BlockingIOError, OSError):
                    if piece is not None:
                        connection.send(piece)
            except OSError:
                alive.discard(connection)
        time.sleep(0.5)
    return len(alive)


def _silent(served: Served, plan: Plan, _: bytes) -> int:
    with _crowd(served, plan.attackers) as crowd:
        return _until_all_closed(crowd)


def _slow_headers(served: Served, plan: Plan, _: bytes) -> int:
    with _crowd(served, plan.attackers) as crowd:
        for connection in crowd:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        return _until_all_closed(crowd, b"X-a: b\r\n")


def _slow_bodies(served: Served, plan: Plan, picture: bytes) -> int:
    with _crowd(served, plan.attackers) as crowd:
        for connection in crowd:
            connection.sendall(post(10_000_000) + picture[:1000])
        return _until_all_closed(crowd, b"\xff")


def _stopped_bodies(served: Served, plan: Plan, picture: bytes) -> int:
    with _crowd(served, plan.attackers) as crowd:
        for connection in crowd:
            connection.sendall(post(10_000_000) + picture[:1000])
        return _until_all_closed(crowd)


def _busy(served: Served, _: Plan, __: bytes) -> int:
    """As many as the service takes, each of which sends something before it counts as silent."""
    ends = time.monotonic() + 2 * BRIEF_SECONDS
    with _crowd(served, ConnectionLimits().max_connections, source="127.0.0.2") as crowd:
        for connection in crowd:
            with suppress(OSError):  # closed for another client
                connection.setblocking(False)
                connection.send(post(10_000_000))
        while time.monotonic() < ends:
            for connection in crowd:
                with suppress(OSError):
                    connection.send(b"\xff")
            time.sleep(0.1)
    return 0


def _unread(served: Served, plan: Plan, _: bytes) -> int:
    with _crowd(served, plan.attackers // 10, receive_buffer=4096) as crowd:
        gone: set[socket.socket] = set()
        for _round in range(150):
            for connection in set(crowd) - gone:
                try:
                    connection.setblocking(False)
                    connection.send(get("/openapi.json"))
                except BlockingIOError:
                    pass
                except OSError:
                    gone.add(connection)
            time.sleep(0.02)
        ends = time.monotonic() + 2 * plan.stall_seconds + 60
        while len(gone) < len(crowd) and time.monotonic() < ends:
            for connection in set(crowd) - gone:
                try:
                    connection.send(b"G")
                except BlockingIOError:
                    pass
                except OSError:
                    gone.add(connection)
            time.sleep(0.5)
        return len(crowd) - len(gone)


def _paced(seconds: float) -> Iterator[int]:
    """Numbers, ``A_SECOND`` of them."""
    began = time.monotonic()
    for number in range(round(seconds * A_SECOND)):
        time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
        yield number


def _knocks(served: Served, _: Plan, __: bytes) -> int:
    for _round in _paced(BRIEF_SECONDS):
        connect(served.address).close()
    return 0


def _abandoned(served: Served, _: Plan, picture: bytes) -> int:
    for number in _paced(BRIEF_SECONDS):
        with connect(served.address) as connection:
            connection.sendall(post(len(picture)) + picture[: number * 997 % len(picture)])
    return 0


def _half_closed(served: Served, plan: Plan, picture: bytes) -> int:
    with _crowd(served, plan.attackers) as crowd:
        for connection in crowd:
            connection.sendall(post(len(picture)) + picture[:1000])
            connection.shutdown(socket.SHUT_WR)
        return _until_all_closed(crowd, within=10)


def _pipelined(served: Served, plan: Plan, _: bytes) -> int:
    with _crowd(served, plan.attackers // 10) as crowd:
        for connection in crowd:
            with suppress(OSError):
                connection.sendall(get("/healthz") * 2000)
        return _until_all_closed(crowd, within=10)


def _header_floods(served: Served, plan: Plan, _: bytes) -> int:
    head = b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(50_000))
    with _crowd(served, plan.attackers // 10) as crowd:
        for connection in crowd:
            with suppress(OSError):
                connection.sendall(head)
        return _until_all_closed(crowd, within=10)


def _slowhttptest(served: Served, plan: Plan, picture: Path) -> Iterator[tuple[str, Others]]:
    """The tool's four attacks, where it is installed."""
    if shutil.which("slowhttptest") is None:
        return
    each = ["-c", str(plan.attackers), "-r", "200", "-l", str(plan.slowhttptest_seconds), "-p", "3"]
    modes = {
        "headers": ["-H", "-i", "2", "-u", f"{served.url}/healthz"],
        "bodies": ["-B", "-i", "2", "-s", "100000", "-t", "POST", "-u", f"{served.url}/predict"],
        "ranges": ["-R", "-a", "10", "-b", "3000", "-u", f"{served.url}/model"],
        "reading": ["-X", "-w", "10", "-y", "20", "-n", "2", "-z", "32", "-k", "3", "-u", f"{served.url}/openapi.json"],
    }
    for mode, options in modes.items():
        with Others(served.url, picture) as others:
            subprocess.run(
                ["slowhttptest", *options, *each],
                cwd=tempfile.gettempdir(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=plan.slowhttptest_seconds + 60,
                check=False,
            )
        yield f"slowhttptest, slow {mode}", others


def _settle(served: Served) -> None:
    """Wait until nothing is under way but the question whether anything is."""
    ends = time.monotonic() + 60
    while served.metric("cin_requests_in_flight") > 1 and time.monotonic() < ends:
        time.sleep(0.2)
    time.sleep(0.5)
