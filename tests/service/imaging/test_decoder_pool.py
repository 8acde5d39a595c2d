"""Decoding in child processes: the same frames, and limits that hold whatever an image is made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.imaging import (
    CostlyPicture,
    Picture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
    read_picture,
)
from service.imaging.decoder_pool import COSTLY, MOST_IDLE, DecoderPool
from service.imaging.fork_server import DecoderError
from tests.service.decoders import decoders
from tests.service.hostile import png
from tests.service.imaging.pools import COSTLY_PICTURE, FRAME, LITTLE_MEMORY, PICTURE, Pools, decode, largest_picture


def test_a_child_decodes_as_this_process_does(pools: Pools, data_root: Path) -> None:
    paths = sorted((data_root / "samples").glob("*.jpg"))[:4]
    pictures = [*(path.read_bytes() for path in paths), PICTURE, COSTLY_PICTURE]

    async def job(pool: DecoderPool) -> list[Picture]:
        return list(await asyncio.gather(*(decode(pool, data) for data in pictures)))

    for data, decoded in zip(pictures, pools.run(job, jpeg_quality=75), strict=True):
        expected = read_picture(data, FRAME, jpeg_quality=75)
        assert np.array_equal(decoded.frame, expected.frame)
        assert replace(decoded, frame=expected.frame) == expected
    assert pools.replaced == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", PictureError),
        (b"%PDF-1.7", UnsupportedPicture),
        (PICTURE[:90], UndecodablePicture),
        (png((2000, 2000)), PictureTooLarge),
        (bytes(2**20 + 1), PictureTooLarge),
    ],
    ids=["nothing", "another type", "cut off", "pixels", "bytes"],
)
def test_what_is_wrong_with_a_picture_is_said_as_in_this_process(
    pools: Pools, data: bytes, error: type[PictureError]
) -> None:
    limits = PictureLimits(max_bytes=2**20, max_pixels=10**6)
    with pytest.raises(error) as raised:
        pools.run(lambda pool: pool.decode(data, "a"), pictures=limits)
    with pytest.raises(PictureError) as expected:
        read_picture(data, FRAME, limits)
    assert (type(raised.value), str(raised.value)) == (type(expected.value), str(expected.value))


def test_a_picture_that_takes_too_much_time_costs_its_sender_alone(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> None:
        bomb, other = await asyncio.gather(
            pool.decode(COSTLY_PICTURE, "a"), pool.decode(PICTURE, "a"), return_exceptions=True
        )
        assert isinstance(bomb, CostlyPicture)
        assert not isinstance(other, BaseException)
        assert await decode(pool, PICTURE)

    brief = replace(COSTLY, cpu_seconds=0.02)
    pools.run(job, ordinary=replace(brief, memory_bytes=COSTLY.memory_bytes), costly=brief)
    assert pools.replaced == ["cpu_time", "cpu_time"], "it is tried again among the costly images"


def test_a_picture_that_hangs_is_refused(pools: Pools) -> None:
    with pytest.raises(CostlyPicture):
        pools.run(lambda pool: pool.decode(COSTLY_PICTURE, "a"), costly=replace(COSTLY, wall_seconds=0.02))
    assert pools.replaced == ["wall_time"]


def test_a_picture_that_needs_too_much_memory_is_refused(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> None:
        with pytest.raises(CostlyPicture):
            await pool.decode(COSTLY_PICTURE, "a")
        assert await decode(pool, PICTURE)

    pools.run(job, costly=replace(COSTLY, memory_bytes=LITTLE_MEMORY))
    assert pools.replaced == []


def test_memory_that_was_not_foreseen_is_no_fault_of_the_picture_file(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.imaging.decoder_pool._MORE_BYTES", -COSTLY.memory_bytes)
    with pytest.raises(CostlyPicture):
        pools.run(lambda pool: pool.decode(largest_picture(), "a"), ordinary=COSTLY)
    assert pools.replaced == []


def memory_of(processes: Iterable[psutil.Process]) -> int:
    """Bytes that they alone use, of those that have not ended meanwhile."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().uss
    return total


def test_costly_pictures_wait_for_each_other_and_return_their_memory(pools: Pools) -> None:
    data = png((4000, 3000))

    async def job(pool: DecoderPool) -> tuple[int, int]:
        tasks = [asyncio.create_task(pool.decode(data, "a")) for _ in range(3)]
        most = 0
        while not all(task.done() for task in tasks):
            most = max(most, memory_of(decoders()))
            await asyncio.sleep(0.005)
        assert [(await task).picture.width for task in tasks] == [4000] * 3
        return most, memory_of(decoders())

    most, after = pools.run(job)
    assert most < 90e6, "one takes 61 MB, two at once 112, three 164"
    assert after < 20e6


def test_each_client_has_processes_of_its_own(pools: Pools) -> None:
    async def processes(pool: DecoderPool, client: str) -> set[int]:
        await pool.decode(PICTURE, client)
        return {process.pid for process in decoders()}

    async def job(pool: DecoderPool) -> None:
        first = await processes(pool, "0")
        assert await processes(pool, "0") == first
        for client in range(1, MOST_IDLE):
            assert len(await processes(pool, str(client))) == client + 1
        last = await processes(pool, "last")
        assert len(last) == MOST_IDLE
        assert not last & first, "the one that was idle for longest"

    pools.run(job)
    assert pools.replaced == []


def test_closing_ends_every_process_at_once(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> float:
        await pool.decode(PICTURE, "a")
        decoding = asyncio.create_task(pool.decode(largest_picture(), "a"))
        while len(decoders()) < 2:
            await asyncio.sleep(0.002)
        pool.close()
        with pytest.raises(DecoderError):
            await decoding
        return time.monotonic()

    closed = pools.run(job)
    assert time.monotonic() - closed < 1
    assert decoders() == []
    assert pools.replaced == []


def test_a_caller_that_leaves_does_not_keep_a_process(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await pool.decode(COSTLY_PICTURE, "a")
        assert await decode(pool, PICTURE)

    pools.run(job)
