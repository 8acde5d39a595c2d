"""Load over HTTP: closed loops, where a client sends when it has its answer, and open ones, where it sends on time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp
import numpy as np

BOUNDARY = "benchmark-of-dermoscopy-pictures"

# The longest wait for an answer.
TIMEOUT_SECONDS = 60.0


class Sample(NamedTuple):
    """One request: when it was due and how long its answer took from then, in seconds; status 0: no answer."""

    due: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Load:
    """What came of a stretch of load."""

    samples: list[Sample]
    seconds: float

    def figures(self) -> dict[str, float]:
        """Answers per second, latency of the answers in ms, and how many requests got none."""
        answered = np.array([s.seconds for s in self.samples if s.status == 200]) * 1e3
        if not len(answered):
            return {"per_second": 0.0, "errors": float(len(self.samples))}
        p50, p95, p99 = np.percentile(answered, [50, 95, 99])
        return {
            "per_second": round(len(answered) / self.seconds, 3),
            "p50_ms": round(float(p50), 2),
            "p95_ms": round(float(p95), 2),
            "p99_ms": round(float(p99), 2),
            "requests": float(len(self.samples)),
            "errors": float(len(self.samples) - len(answered)),
        }


def form(picture: bytes) -> bytes:
    """The body of a multipart form with a picture in the field ``image``."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="picture.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


async def closed_loop(url: str, bodies: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """``clients`` that each send their next request when they have the last one's answer."""
    upcoming = itertools.cycle(bodies)
    samples: list[Sample] = []
    async with _session() as session:
        began = time.perf_counter()

        async def client() -> None:
            while (now := time.perf_counter()) < began + seconds:
                samples.append(await _send(session, url, next(upcoming), due=now))

        await asyncio.gather(*(client() for _ in range(clients)))
        return Load(samples, time.perf_counter() - began)


async def open_loop(url: str, bodies: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Requests at random times (Poisson), ``rate`` a second on average, whether or not answers come.

    Latency counts from when a request was due, so that a server that stalls cannot hide it.
    """
    pauses = np.random.default_rng(seed).exponential(1.0 / rate, max(1, round(rate * seconds)))
    upcoming = itertools.cycle(bodies)
    async with _session() as session:
        began = time.perf_counter()
        due = began + np.cumsum(pauses)

        async def client(when: float, body: bytes) -> Sample:
            await asyncio.sleep(max(0.0, when - time.perf_counter()))
            return await _send(session, url, body, due=when)

        samples = await asyncio.gather(*(client(float(when), next(upcoming)) for when in due))
        return Load(list(samples), time.perf_counter() - began)


async def while_polling(url: str, load: Coroutine[None, None, Load]) -> tuple[Load, Load]:
    """The load, and a GET of ``url`` every tenth of a second meanwhile."""
    polls: list[Sample] = []
    began = time.perf_counter()
    async with _session() as session:

        async def poll() -> None:
            while True:
                polls.append(await _send(session, url, None, due=time.perf_counter()))
                await asyncio.sleep(0.1)

        polling = asyncio.create_task(poll())
        try:
            done = await load
        finally:
            polling.cancel()
    return done, Load(polls, time.perf_counter() - began)


def _session() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


async def _send(session: aiohttp.ClientSession, url: str, body: bytes | None, *, due: float) -> Sample:
    headers = {} if body is None else {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    status = 0
    try:
        async with session.request("GET" if body is None else "POST", url, data=body, headers=headers) as response:
            await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError):
        pass
    return Sample(due, time.perf_counter() - due, status)
