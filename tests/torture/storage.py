"""A full disk: no half prediction, nothing that was kept is lost, and it goes on when there is room again."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, none_of
from tests.torture.served import PROGRAM, Served

MOST_PREDICTIONS = 400

# Where nothing may be mounted: SQLite's own limit of pages, which it reports in the same words.
_SMALL = """
import service.storage.sqlite as r
opened = r.SqliteRecords.__init__
def small(self, *arguments, **named):
    opened(self, *arguments, **named)
    self._database.execute("PRAGMA max_page_count = {pages}")
r.SqliteRecords.__init__ = small
"""


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Predictions until the store is full, and after."""
    with ExitStack() as stack:
        folder, program = stack.enter_context(small_folder(plan.disk_megabytes, _SMALL))
        served = stack.enter_context(Served(plan.settings() | {"CIN_RECORDS_FOLDER": str(folder)}, program=program))
        client = stack.enter_context(httpx.Client(base_url=served.url, timeout=60.0))
        kept, refusals = _fill(client, picture.read_bytes())
        lost = sum(client.get(f"/predictions/{answer['id']}").status_code != 200 for answer in kept)
        drawn = sum(client.get(answer["attention"]["lesion"]).status_code != 200 for answer in kept[-3:])
        alive = client.get("/healthz").status_code
        freed = [client.delete(f"/predictions/{answer['id']}").status_code for answer in kept[:3]]
        again = client.post("/predict", files={"image": picture.read_bytes()}).status_code
    where = "file system" if program == PROGRAM else "limit of SQLite"
    yield at_least(f"full disk ({plan.disk_megabytes} MB, {where}): predictions kept before it was full", len(kept), 1)
    yield at_least("full disk: predictions refused with 507", sum(status == 507 for status in refusals), 5)
    yield none_of("full disk: refused with anything but 507", sum(status != 507 for status in refusals))
    yield none_of("full disk: kept predictions lost", lost + drawn)
    yield none_of("full disk: /healthz not answered", int(alive != 200))
    yield none_of("full disk: not deleted", sum(status != 204 for status in freed))
    yield none_of("full disk: not answered when there is room again", int(again != 200))


def _fill(client: httpx.Client, picture: bytes) -> tuple[list[dict[str, Any]], list[int]]:
    kept: list[dict[str, Any]] = []
    refusals: list[int] = []
    for _ in range(MOST_PREDICTIONS):
        answer = client.post("/predict", files={"image": picture})
        if answer.status_code == 200:
            kept.append(answer.json())
        else:
            refusals.append(answer.status_code)
        if len(refusals) == 5:
            break
    return kept, refusals


@contextmanager
def small_folder(megabytes: int, instead: str) -> Iterator[tuple[Path, str]]:
    """A small file system and the program, or with ``instead`` before it where nothing may be mounted."""
    with tempfile.TemporaryDirectory() as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", name]
        try:
            mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except OSError:
            mounted = False
        try:
            yield Path(name), PROGRAM if mounted else instead.format(pages=megabytes * 2**20 // 4096) + PROGRAM
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", name], check=True)
