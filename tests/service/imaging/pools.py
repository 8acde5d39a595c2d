"""Jobs for a pool of decoder processes, and images of every cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

from service.imaging import Picture
from service.imaging.decoder import Replaced
from service.imaging.decoder_pool import ORDINARY, DecoderPool
from service.imaging.fork_server import ForkServer
from tests.service.hostile import large, png
from tests.service.tiny_bundle import dark_square, picture_bytes

T = TypeVar("T")

FRAME = 64
PICTURE = picture_bytes(dark_square())
# More than an ordinary image may take here: 24 MB, and a tenth of a second of CPU.
COSTLY_PICTURE = png((3000, 2000))
LITTLE_MEMORY = 20 * 2**20


@cache
def largest_picture() -> bytes:
    """Half a second of CPU, and 160 MB."""
    return large("PNG")


Job = Callable[[DecoderPool], Coroutine[Any, Any, T]]


@dataclass
class Pools:
    """Runs jobs with a pool of their own, and notes why its processes were replaced."""

    server: ForkServer
    replaced: list[Replaced] = field(default_factory=list)

    def run(self, job: Job[T], **options: Any) -> T:
        """What the job returns; ``options`` are those of the pool."""

        async def with_pool() -> T:
            chosen = {"ordinary": replace(ORDINARY, memory_bytes=LITTLE_MEMORY), **options}
            costly = ThreadPoolExecutor(1)
            pool = DecoderPool(
                self.server,
                lambda function, client: asyncio.to_thread(function),
                lambda function, client: asyncio.wrap_future(costly.submit(function)),
                frame_size=FRAME,
                on_replaced=self.replaced.append,
                **chosen,
            )
            try:
                return await job(pool)
            finally:
                pool.close()

        return asyncio.run(with_pool())


async def decode(pool: DecoderPool, data: bytes) -> Picture:
    """The image, for the client ``a``."""
    return (await pool.decode(data, "a")).picture
