"""kill -9 under load and a start after it, again and again: the audit log verifies, no prediction is half there.

Also a device that begins to err: the service detects it, gives no more answers, and ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from tests.paths import REPOSITORY
from tests.service import faults
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, at_most, none_of
from tests.torture.served import PROGRAM, Served

CLIENTS = 4


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Crashes, then devices that err."""
    yield from _killed(plan, picture.read_bytes())
    for fault in plan.faults:
        yield from _erring(plan, picture.read_bytes(), fault)


def _killed(plan: Plan, picture: bytes) -> Iterator[Row]:
    chance = random.Random(3)
    answers: list[dict[str, Any]] = []
    unstarted = broken = half = changed = 0
    with tempfile.TemporaryDirectory() as name:
        log, records = Path(name) / "audit.jsonl", Path(name) / "records"
        settings = plan.settings() | {"CIN_AUDIT": str(log), "CIN_RECORDS_FOLDER": str(records)}
        for _ in range(plan.kills):
            try:
                with Served(settings) as served:
                    halves, changes = _look_at(served, answers[-20:])
                    half, changed = half + halves, changed + changes
                    answers += asyncio.run(_until_killed(served, picture, seconds=chance.uniform(0.2, 1.2)))
            except RuntimeError:
                unstarted += 1
            broken += not verifies(log)
        entries = [json.loads(line) for line in log.read_bytes().splitlines()]
    written = {entry["id"] for entry in entries if entry.get("outcome") == "answered"}
    name = f"kill -9 under load and start, {plan.kills} times"
    yield none_of(f"{name}: did not start again", unstarted)
    yield none_of(f"{name}: audit log that does not verify", broken)
    yield none_of(f"{name}: answers that are not in the audit log", sum(a["id"] not in written for a in answers))
    yield none_of(f"{name}: half predictions", half)
    yield none_of(f"{name}: predictions that came back changed", changed)
    yield at_least(f"{name}: predictions answered meanwhile", len(answers), plan.kills)


def _look_at(served: Served, answers: list[dict[str, Any]]) -> tuple[int, int]:
    """Of what was answered before the crash: what is only half there, and what is another."""
    half = changed = 0
    for answer in answers:
        found = httpx.get(f"{served.url}/predictions/{answer['id']}", timeout=30.0)
        if found.status_code == 404:
            continue
        changed += found.status_code != 200 or found.json() != answer
        half += httpx.get(f"{served.url}{answer['attention']['lesion']}", timeout=30.0).status_code != 200
    return half, changed


async def _until_killed(served: Served, picture: bytes, *, seconds: float) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []

    async def client(session: aiohttp.ClientSession) -> None:
        with suppress(aiohttp.ClientError, TimeoutError):
            while True:
                async with session.post("/predict", data=picture, headers={"Content-Type": "image/jpeg"}) as response:
                    if response.status == 200:
                        answers.append(await response.json())

    async with aiohttp.ClientSession(served.url, timeout=aiohttp.ClientTimeout(total=30)) as session:
        clients = [asyncio.create_task(client(session)) for _ in range(CLIENTS)]
        await asyncio.sleep(seconds)
        served.process.send_signal(signal.SIGKILL)
        await asyncio.gather(*clients)
    return answers


def verifies(log: Path) -> bool:
    """Whether `cin audit verify` accepts the log."""
    command = [sys.executable, "-c", PROGRAM, "audit", "verify", str(log)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=60).returncode == 0


def _erring(plan: Plan, picture: bytes, fault: str) -> Iterator[Row]:
    statuses: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        errs, began, code = Path(name) / "fault", time.monotonic(), 0
        settings = plan.settings() | {"CIN_CANARY_SECONDS": "1", "CIN_FAREWELL_SECONDS": "2", "FAULT": str(errs)}
        with Served(settings, program=faults.PROGRAM) as served:
            with httpx.Client(base_url=served.url, timeout=30.0) as client, suppress(httpx.HTTPError):
                client.post("/predict", files={"image": picture}).raise_for_status()
                errs.write_text(fault)
                began = time.monotonic()
                while time.monotonic() < began + 30:
                    statuses.append(client.post("/predict", files={"image": picture}).status_code)
            with suppress(subprocess.TimeoutExpired):
                code = served.process.wait(30)
    refused = statuses.index(503) if 503 in statuses else len(statuses)
    name = f"device that begins to err ({fault})"
    yield at_least(f"{name}: refusals", len(statuses) - refused, 1)
    yield none_of(f"{name}: answers after the first refusal", statuses[refused:].count(200))
    yield none_of(f"{name}: exit code that says all is well", int(code == 0))
    yield at_most(f"{name}: seconds to the end", time.monotonic() - began, 15)
