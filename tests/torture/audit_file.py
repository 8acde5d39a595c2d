"""The audit log's file is damaged under a running service: nothing is answered, and the chain says so."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from service.audit.chain import verify
from tests.torture.plan import Plan
from tests.torture.rows import Row, none_of
from tests.torture.served import Served


def _swap(path: Path) -> None:
    """An older copy comes back, as from a backup."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    copy.replace(path)


def _pipe(path: Path) -> None:
    """Who opens it waits, for nobody writes to it."""
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "replaced": _swap,
    "replaced by a pipe": _pipe,
    "overwritten": lambda path: path.write_bytes(b"x" * path.stat().st_size),
}


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Each damage in a service of its own, which then starts again."""
    for name, damage in DAMAGE.items():
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "audit.jsonl"
            settings, files = plan.settings() | {"CIN_AUDIT": str(log)}, {"image": picture.read_bytes()}
            with Served(settings) as served, httpx.Client(base_url=served.url, timeout=60.0) as client:
                client.post("/predict", files=files)
                head = verify(log.read_bytes().splitlines(keepends=True)).head
                damage(log)
                answered = [client.post("/predict", files=files).status_code for _ in range(2)]
                answered.append(client.get("/readyz").status_code)
            entries = [json.loads(line) for line in log.read_bytes().splitlines()]
            unrecorded = [(e["what"], e["previous"]) for e in entries] != [("gap", head.sha256)]
            with Served(settings) as served, httpx.Client(base_url=served.url, timeout=60.0) as client:
                again = client.post("/predict", files=files).status_code
        yield none_of(f"audit file {name}: not refused with 503", sum(status != 503 for status in answered))
        yield none_of(f"audit file {name}: gap not recorded after the known head", int(unrecorded))
        yield none_of(f"audit file {name}: not answered after a restart", int(again != 200))
