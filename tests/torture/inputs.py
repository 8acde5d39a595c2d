"""Bad pictures: each refused with its reason, in bounded time and memory, and damaged ones never a failure of ours."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image

from tests.paths import REPOSITORY
from tests.service import hostile
from tests.service.tiny_bundle import picture_bytes
from tests.torture.plan import Plan
from tests.torture.rows import Row, at_least, at_most, none_of
from tests.torture.served import Served

# Of all processes while they decode the largest pictures that are allowed, one after the other.
MOST_MEGABYTES = 500.0
MOST_SECONDS = 5.0

# A damaged picture may be one, or have become too large, another type or undecodable.
DAMAGED = (200, 413, 415, 422)


def check(plan: Plan, picture: Path) -> Iterator[Row]:
    """Everything that is no picture, or one made to harm."""
    with Served(plan.settings()) as served, httpx.Client(base_url=served.url, timeout=60.0) as client:
        yield from _refused(client)
        yield from _largest(served, client)
        yield from _damaged(client, plan, picture)
        yield none_of(
            "bad inputs: failures of the service (5xx)", served.metric("cin_rejected_total", reason="internal-error")
        )
    if plan.atheris_seconds and importlib.util.find_spec("atheris"):
        yield from _atheris(plan, picture)


def _post(client: httpx.Client, data: bytes) -> int:
    return client.post("/predict", content=data, headers={"Content-Type": "image/jpeg"}).status_code


def _refused(client: httpx.Client) -> Iterator[Row]:
    for kind, (status, examples) in hostile.refused().items():
        others = sum(_post(client, data) != status for data in examples)
        yield none_of(f"bad inputs, {kind} ({len(examples)} tried): not refused with {status}", others)
    harmless = hostile.accepted()
    others = sum(_post(client, data) != 200 for data in harmless.values())
    yield none_of(f"bad inputs, pictures all the same ({len(harmless)} tried): not answered", others)


def _largest(served: Served, client: httpx.Client) -> Iterator[Row]:
    slowest, failed = 0.0, 0
    with served.watching_memory() as seen:
        for make in hostile.LARGEST_PICTURES.values():
            data = make()
            began = time.monotonic()
            failed += _post(client, data) != 200
            slowest = max(slowest, time.monotonic() - began)
    name = f"largest pictures ({len(hostile.LARGEST_PICTURES)} kinds of 40 million pixels)"
    yield none_of(f"{name}: not answered", failed)
    yield at_most(f"{name}: MB of memory above idle", max(seen) - seen[0], MOST_MEGABYTES)
    yield at_most(f"{name}: seconds of the slowest", slowest, MOST_SECONDS)


def in_every_format(picture: Path) -> list[bytes]:
    """A picture in every accepted format, small so that damage meets its headers often."""
    with Image.open(picture) as original:
        small = original.convert("RGB").resize((160, 120))
    return [
        picture_bytes(small, "JPEG"),
        picture_bytes(small, "JPEG", progressive=True),
        picture_bytes(small.convert("CMYK"), "JPEG"),
        picture_bytes(small, "PNG"),
        picture_bytes(small.convert("P"), "PNG", transparency=3),
        picture_bytes(small.convert("RGBA"), "WEBP", lossless=True),
        picture_bytes(small, "WEBP"),
        picture_bytes(small, "TIFF", compression="tiff_lzw"),
        picture_bytes(small, "TIFF", compression="jpeg"),
        picture_bytes(small, "AVIF"),
        picture_bytes(small.convert("RGBA"), "AVIF", subsampling="4:4:4"),
    ]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Some bits turned over, in half of the cases near the beginning, and often an end missing."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 8)):
        changed[chance.randrange(chance.choice((min(400, len(data)), len(data))))] ^= 1 << chance.randrange(8)
    return bytes(changed[: chance.choice((len(data), chance.randrange(1, len(data))))])


def _damaged(client: httpx.Client, plan: Plan, picture: Path) -> Iterator[Row]:
    chance, sources, others, slowest = random.Random(0), in_every_format(picture), 0, 0.0
    for _ in range(plan.damaged_pictures):
        began = time.monotonic()
        others += _post(client, damaged(chance.choice(sources), chance)) not in DAMAGED
        slowest = max(slowest, time.monotonic() - began)
    name = f"pictures cut and flipped ({plan.damaged_pictures})"
    yield none_of(f"{name}: neither answered nor refused with a reason", others)
    yield at_most(f"{name}: seconds of the slowest", slowest, MOST_SECONDS)


def _atheris(plan: Plan, picture: Path) -> Iterator[Row]:
    limits = [f"-max_total_time={plan.atheris_seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=60000"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.fuzz_decoder", str(picture), *limits],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=plan.atheris_seconds + 120,
        check=False,
    )
    runs = re.findall(rb"^Done (\d+) runs", done.stdout, re.MULTILINE)
    yield none_of(
        "decoder under atheris: crashes, hangs and errors that are no PictureError", int(done.returncode != 0)
    )
    yield at_least("decoder under atheris: pictures tried", int(runs[-1]) if runs else 0, 1000)
