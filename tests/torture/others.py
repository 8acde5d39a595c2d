"""Clients that do nothing wrong while others attack: asked from a process of their own, so that only the service waits.

``python -m tests.torture.others URL PICTURE`` goes on until its standard input ends, then says what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.paths import REPOSITORY
from tests.torture.rows import Row, none_of


class Others:
    """A context manager: clients that go on for as long as the block lasts."""

    def __init__(self, url: str, picture: Path, *, predictions: bool = True) -> None:
        self._command = [sys.executable, "-m", "tests.torture.others", url, str(picture), *(["-"] * (not predictions))]
        self.seen: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        output, _ = self._process.communicate(timeout=90)
        self.seen = json.loads(output)

    def rows(self, attack: str) -> list[Row]:
        """What they saw during an attack."""
        assert self.seen["requests"] >= 5, "they had no chance to see anything"
        return [
            none_of(f"{attack}: requests of other clients not answered", self.seen["unanswered"]),
            none_of(f"{attack}: other clients answered wrongly", self.seen["wrong"]),
        ]


async def _watch(url: str, picture: bytes, *, predictions: bool) -> dict[str, Any]:
    health: list[float] = []
    unanswered = wrong = requests = 0
    right: dict[str, float] | None = None
    over = asyncio.Event()

    async def poll(session: aiohttp.ClientSession) -> None:
        nonlocal unanswered, requests
        while not over.is_set():
            began = time.perf_counter()
            try:
                async with session.get(f"{url}/healthz") as answer:
                    unanswered += answer.status != 200
            except (aiohttp.ClientError, TimeoutError):
                unanswered += 1
            requests += 1
            health.append(1e3 * (time.perf_counter() - began))
            await asyncio.sleep(0.05)

    async def predict(session: aiohttp.ClientSession) -> None:
        nonlocal unanswered, wrong, requests, right
        while not over.is_set():
            try:
                async with session.post(
                    f"{url}/predict", data=picture, headers={"Content-Type": "image/jpeg"}
                ) as answer:
                    unanswered += answer.status != 200
                    if answer.status == 200:
                        found = (await answer.json())["probabilities"]
                        right = right or found
                        wrong += any(abs(found[name] - right[name]) > 1e-3 for name in right)
            except (aiohttp.ClientError, TimeoutError):
                unanswered += 1
            requests += 1
            await asyncio.sleep(0.3)

    timeout = aiohttp.ClientTimeout(total=30)
    # A new connection each time: an attack on connections must not go unnoticed because one was kept.
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as session:
        tasks = [asyncio.create_task(poll(session))]
        tasks += [asyncio.create_task(predict(session))] if predictions else []
        print("ready", flush=True)  # noqa: T201
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        over.set()
        await asyncio.gather(*tasks)
    return {"unanswered": unanswered, "wrong": wrong, "requests": requests, "health_ms": health}


def main() -> None:
    """Watch, and say what was seen."""
    url, picture, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(_watch(url, Path(picture).read_bytes(), predictions=not rest))))  # noqa: T201


if __name__ == "__main__":
    main()
