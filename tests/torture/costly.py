"""Small pictures that take long or much memory to decode: each is its sender's loss alone, and memory stays bounded."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from PIL import Image

from tests.service import hostile
from tests.service.imaging import avif_bombs
from tests.service.imaging.avifs import avif
from tests.service.tiny_bundle import picture_bytes
from tests.torture.others import Others
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_most, goal, none_of
from tests.torture.served import Served

AT_ONCE = 8
# Of the service and its decoders together.
MOST_MEGABYTES = 1000.0
MOST_SECONDS = 3.0


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Bombs one after the other, then the largest pictures of every kind at once, while another client is served."""
    with Served({**plan.settings(), "CIN_RECORD_MAX_BYTES": str(16 * 2**20)}) as served:
        with httpx.Client(base_url=served.url, timeout=60.0) as client:
            for name, (status, pictures) in bombs().items():
                yield from _bombs(client, name, status, pictures)
            idle = served.all_megabytes()
            pictures = (list(hostile.costly_pictures().values()) * 2)[:AT_ONCE]
            with Others(served.url, picture) as others, served.watching_memory() as peak:
                statuses = _at_once(client, pictures)
            name = f"{AT_ONCE} of the largest pictures at once"
            yield from others.rows(name)
            yield none_of(
                f"{name}: neither answered nor refused as costly", sum(s not in (200, 422, 429) for s in statuses)
            )
            yield at_most(f"{name}: MB of all processes", max(peak), MOST_MEGABYTES)
            yield at_most(f"{name}: MB more than before, afterwards", served.all_megabytes() - idle, 100)
        yield none_of(
            "costly pictures: failures of the service (5xx)",
            served.metric("cin_rejected_total", reason="internal-error"),
        )


def bombs() -> dict[str, tuple[int, list[bytes]]]:
    """Pictures of a few kilobytes that cost seconds or minutes without limits, with the status they must get."""
    square = Image.new("RGB", (64, 64), (180, 120, 100))
    text = zlib.compress(bytes(50_000_000), 9)
    refused = hostile.refused()
    return {
        "profiles of 125,000 matrices in five formats": (
            200,
            [
                picture_bytes(square, kind, icc_profile=hostile.costly_profile())
                for kind in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF")
            ],
        ),
        "JPEGs of many scans": (422, [hostile.with_many_scans(200), *refused["a JPEG of one marker"][1]]),
        "more memory or passes": refused["more memory or passes than decoding may take"],
        "AVIF of many parts": (422, list(avif_bombs.too_many().values())),
        "AVIF of larger frames": (422, [avif_bombs.with_larger_frame(side) for side in (8_000, 16_000, 65_536)]),
        "AVIF of more pixels": (413, [avif([avif_bombs.claiming((65_536, 65_536))])]),
        "zTXt and iTXt of 50 MB": (
            422,
            [
                hostile.png((64, 64), extra=hostile.chunk(b"zTXt", b"a\0\0" + text)),
                hostile.png((64, 64), extra=hostile.chunk(b"iTXt", b"a\0\1\0\0\0" + text)),
            ],
        ),
        "TIFF tags": (422, [hostile.grey_tiff((278, 4, 1, 1), (273, 4, 60_000, 8), (279, 4, 60_000, 8))]),
    }


def _bombs(client: httpx.Client, name: str, status: int, pictures: Sequence[bytes]) -> Iterator[Row]:
    others, slowest = 0, 0.0
    for data in pictures:
        began = time.monotonic()
        others += _post(client, data) != status
        slowest = max(slowest, time.monotonic() - began)
    yield none_of(f"bombs, {name} ({len(pictures)} tried): not answered with {status}", others)
    yield goal(at_most(f"bombs, {name}: seconds of the slowest", slowest, MOST_SECONDS))


def _at_once(client: httpx.Client, pictures: Sequence[bytes]) -> list[int]:
    with ThreadPoolExecutor(len(pictures)) as threads:
        return list(threads.map(lambda data: _post(client, data), pictures))


def _post(client: httpx.Client, data: bytes) -> int:
    return client.post("/predict", content=data, headers={"Content-Type": "image/jpeg"}).status_code
