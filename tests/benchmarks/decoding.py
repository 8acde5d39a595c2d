"""What decoding in child processes costs beside decoding in this process: ``python -m tests.benchmarks.decoding``.

Five rounds in turn, so that both meet the same machine. Medians of the time of one image, and of the images a second
when two are decoded at once; and the time from starting a fork server to its first decoded image.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter
from typing import Any

from PIL import Image
from rich.console import Console

from service.imaging import read_picture
from service.imaging.decoder_pool import DecoderPool
from service.imaging.fork_server import ForkServer
from service.inference.cpu_pool import CpuPool
from tests.paths import REPOSITORY

EXAMPLE = REPOSITORY / "service" / "web" / "examples" / "ISIC_0001140.jpg"
FRAME_SIZE, JPEG_QUALITY = 256, 75
# Width and height, and how many images of this size one round decodes.
SIZES = {(1024, 768): 60, (4000, 3000): 12}
ROUNDS = 5

Decode = Callable[[bytes], Awaitable[object]]


def example(size: tuple[int, int]) -> bytes:
    """A dermoscopic image as JPEG of this size."""
    file = io.BytesIO()
    with Image.open(EXAMPLE) as image:
        image.convert("RGB").resize(size).save(file, "JPEG", quality=90)
    return file.getvalue()


async def seconds_of(decode: Decode, data: bytes, num: int) -> list[float]:
    """Seconds of each of ``num`` images, one after the other."""
    seconds = []
    for _ in range(num):
        began = perf_counter()
        await decode(data)
        seconds.append(perf_counter() - began)
    return seconds


async def rate_of(decode: Decode, data: bytes, num: int) -> float:
    """Images a second when as many are decoded at once as there are threads."""
    began = perf_counter()
    await asyncio.gather(*(decode(data) for _ in range(num)))
    return num / (perf_counter() - began)


async def main() -> None:
    """Measure, and print a line for each size."""
    threads = CpuPool(2)

    async def compute(function: Callable[[], Any], client: str) -> Any:
        return await threads.run(lambda _: function(), client=client)

    def pool(server: ForkServer) -> DecoderPool:
        return DecoderPool(server, compute, compute, frame_size=FRAME_SIZE, jpeg_quality=JPEG_QUALITY)

    async def here(data: bytes) -> object:
        return await compute(lambda: read_picture(data, FRAME_SIZE, jpeg_quality=JPEG_QUALITY), "a")

    starts = []
    for _ in range(ROUNDS):
        began = perf_counter()
        with ForkServer() as server:
            decoders = pool(server)
            await decoders.decode(example((64, 64)), "a")
            starts.append(perf_counter() - began)
            decoders.close()
    Console().print(f"from the start to the first image: {median(starts):.2f} s")
    with ForkServer() as server:
        decoders = pool(server)

        async def children(data: bytes) -> object:
            return await decoders.decode(data, "a")

        for (width, height), num in SIZES.items():
            data = example((width, height))
            ways: list[tuple[Decode, list[float], list[float]]] = [(here, [], []), (children, [], [])]
            for _ in range(ROUNDS):
                for decode, seconds, rates in ways:
                    seconds.extend(await seconds_of(decode, data, num))
                    rates.append(await rate_of(decode, data, num))
            alone = ", ".join(f"{1000 * median(seconds):.1f}" for _, seconds, _ in ways)
            together = ", ".join(f"{median(rates):.1f}" for _, _, rates in ways)
            Console().print(f"{width} x {height}, here and in children: {alone} ms; two at once {together} a second")
        decoders.close()
    threads.close()


if __name__ == "__main__":
    asyncio.run(main())
