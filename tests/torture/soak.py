"""Very many requests, good, bad and abandoned: right answers throughout, and memory that does not grow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.torture.inputs import damaged, in_every_format
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, at_most, goal, none_of
from tests.torture.served import PROGRAM, Served
from tests.torture.sockets import post

CLIENTS = 12
MOST_GROWTH_MEGABYTES = 50.0

# Of ten requests: two whole pictures, one overlay, one prediction fetched or deleted, three refused pictures, one
# damaged one, two uploads abandoned half-way.
MIX = ("good", "good", "overlay", "kept", "refused", "refused", "refused", "damaged", "abandoned", "abandoned")

# Keeps half a megabyte of every picture that is decoded.
_LEAK = f"""
from service.imaging.decoder_pool import DecoderPool
kept, decode = [], DecoderPool.decode
def leak(self, data, client):
    kept.append(b"\\1" * 500_000)
    return decode(self, data, client)
DecoderPool.decode = leak
{PROGRAM}
"""

Probabilities = dict[str, float]


@dataclass
class Outcome:
    """What came of all requests."""

    sent: int = 0
    answered: int = 0
    wrong: int = 0
    failed: int = 0  # 5xx, or no answer where there had to be one
    megabytes: list[float] = field(default_factory=list)

    def growth(self) -> float:
        """MB of memory more than after the first quarter."""
        later = self.megabytes[len(self.megabytes) // 4 :]
        return max(later) - later[0]


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """The soak, and a service that leaks, which must be seen to grow."""
    pictures = [*in_every_format(picture)[:3], picture.read_bytes()]
    with Served(plan.settings()) as served:
        outcome = asyncio.run(_Soak(served, pictures, plan.soak_requests).run())
        depth = served.metric("cin_queue_places_taken")
    name = f"soak of {outcome.sent} requests, {outcome.answered} of them whole pictures"
    yield none_of(f"{name}: pictures answered wrongly", outcome.wrong)
    yield none_of(f"{name}: failures", outcome.failed)
    yield none_of(f"{name}: places still taken", depth)
    grown = at_most(f"{name}: MB grown after the first quarter", outcome.growth(), MOST_GROWTH_MEGABYTES)
    # A quarter of a short one is too short to have seen the largest pictures side by side.
    yield grown if plan.own_bundle is None else goal(grown)
    yield at_least(f"{name}: requests", outcome.sent, plan.soak_requests)
    with Served(plan.settings(), program=_LEAK) as leaking:
        outcome = asyncio.run(_Soak(leaking, pictures, plan.control_requests).run())
    name = f"control, a service that leaks 0.5 MB of each picture ({outcome.sent} requests): MB grown"
    yield at_least(name, outcome.growth(), 50)


class _Soak:
    def __init__(self, served: Served, pictures: list[bytes], num_requests: int) -> None:
        self._served, self._pictures, self._left = served, pictures, num_requests
        self._chance, self._outcome = random.Random(2), Outcome()
        self._right: list[Probabilities] = []
        self._predictions: list[dict[str, Any]] = []
        self._every = max(1, num_requests // 60)

    async def run(self) -> Outcome:
        """Send them all; answers are compared with what each picture gets when nothing else is under way."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self._served.url, timeout=timeout) as session:
            for picture in self._pictures:
                _, answer = await self._predict(session, picture)
                self._right.append(answer["probabilities"])
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))
        return self._outcome

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self._left > 0:
            self._left -= 1
            if self._outcome.sent % self._every == 0:
                self._outcome.megabytes.append(self._served.rss_megabytes())
            self._outcome.sent += 1
            try:
                await getattr(self, f"_{self._chance.choice(MIX)}")(session)
            except (aiohttp.ClientError, TimeoutError):
                self._outcome.failed += 1

    async def _predict(self, session: aiohttp.ClientSession, data: bytes) -> tuple[int, dict[str, Any]]:
        async with session.post("/predict?include=raw", data=data, headers={"Content-Type": "image/jpeg"}) as response:
            return response.status, await response.json(content_type=None)

    async def _good(self, session: aiohttp.ClientSession) -> None:
        index = self._chance.randrange(len(self._pictures))
        status, answer = await self._predict(session, self._pictures[index])
        if status != 200:
            self._outcome.failed += 1
            return
        self._outcome.answered += 1
        right, found = self._right[index], answer["probabilities"]
        self._outcome.wrong += any(abs(found[name] - right[name]) > 1e-3 for name in right)
        self._predictions.append(answer)

    async def _overlay(self, session: aiohttp.ClientSession) -> None:
        if not self._predictions:
            return
        links = [link for link in self._chance.choice(self._predictions[-50:])["attention"].values() if link]
        async with session.get(self._chance.choice(links)) as response:
            await response.read()
            self._outcome.failed += response.status not in (200, 404)  # it may have been deleted

    async def _kept_one(self, session: aiohttp.ClientSession, method: str) -> None:
        if not self._predictions:
            return
        id = self._chance.choice(self._predictions[-50:])["id"]
        async with session.request(method, f"/predictions/{id}") as response:
            await response.read()
            self._outcome.failed += response.status >= 500

    async def _kept(self, session: aiohttp.ClientSession) -> None:
        await self._kept_one(session, self._chance.choice(("GET", "GET", "DELETE")))

    async def _refused(self, session: aiohttp.ClientSession) -> None:
        data = self._chance.choice((b"hello", b"%PDF-1.7", b"", self._pictures[0][:400], b"\0" * 100_000))
        status, _ = await self._predict(session, data)
        self._outcome.failed += status not in (400, 415, 422)

    async def _damaged(self, session: aiohttp.ClientSession) -> None:
        status, _ = await self._predict(session, damaged(self._pictures[0], self._chance))
        self._outcome.failed += status not in (200, 413, 415, 422)

    async def _abandoned(self, _: aiohttp.ClientSession) -> None:
        data = self._pictures[-1]
        writer = (await asyncio.open_connection(*self._served.address))[1]
        writer.write(post(len(data)) + data[: self._chance.randrange(len(data))])
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()
