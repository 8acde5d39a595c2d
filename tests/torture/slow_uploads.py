"""Uploads that never end: at the service, and at the proxy of the stack in front of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

from tests.service.server.proxies import Address, missing, nginx_of_the_stack
from tests.torture.plan import Plan
from tests.torture.rows import Row, none_of
from tests.torture.served import Served
from tests.torture.sockets import connect, post
from tests.torture.strangers import make_key

# As many as the places that the proxy once had for everybody.
ATTACKERS = 36
ROUNDS = 4


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """A byte now and then from many connections of one address, while another client sends a picture."""
    with Served(plan.settings()) as served, tempfile.TemporaryDirectory() as folder:
        yield _row("at the service", served.address, plan, picture)
        if missing("nginx") is None:
            with nginx_of_the_stack(served.address, Path(folder)) as proxy:
                yield _row("at the proxy", proxy, plan, picture)
    if missing("nginx") is None:
        yield _strangers(plan, picture)


def _row(where: str, address: Address, plan: Plan, picture: Path) -> Row:
    unanswered = 0
    with ExitStack() as stack:
        held = [stack.enter_context(connect(address)) for _ in range(ATTACKERS)]
        for connection in held:
            connection.sendall(post(20_000_000) + b"\xff\xd8")
        for _ in range(ROUNDS):
            time.sleep(0.4 * plan.stall_seconds)
            for connection in held:
                with suppress(OSError):
                    connection.sendall(b"\0")
            unanswered += _predict(address, picture) != 200
    return none_of(f"slow uploads, {ATTACKERS} {where}: pictures of another client not answered", unanswered)


def _strangers(plan: Plan, picture: Path) -> Row:
    """Without a key none of them gets to send its body."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        keys = Path(name) / "keys.json"
        key = make_key(keys, "clinic")
        settings = plan.settings() | {"CIN_KEYS": str(keys), "CIN_TRUSTED_PROXIES": "*"}
        served = stack.enter_context(Served(settings, key=key))
        proxy = stack.enter_context(nginx_of_the_stack(served.address, Path(name)))
        held = [stack.enter_context(connect(proxy)) for _ in range(ATTACKERS)]
        wrong = 0
        for connection in held:
            connection.sendall(post(20_000_000) + b"\xff\xd8")
            connection.settimeout(10)
            with suppress(OSError):
                wrong += connection.recv(12) != b"HTTP/1.1 401"
        wrong += _predict(proxy, picture, {"Authorization": f"Bearer {key}"}) != 200
    return none_of(f"slow uploads, {ATTACKERS} without a key at the proxy: not refused at once", wrong)


def _predict(address: Address, picture: Path, headers: dict[str, str] | None = None) -> int:
    url = f"http://{address[0]}:{address[1]}/predict"
    files = {"image": picture.read_bytes()}
    try:
        return httpx.post(url, files=files, headers=headers, timeout=30).status_code
    except httpx.HTTPError:
        return 0
