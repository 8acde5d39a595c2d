"""Decoding in child processes: the same frames, and limits that hold whatever a picture is made of."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGKILL, SIGSEGV
from typing import Any, NoReturn, TypeVar

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
from service.imaging.decoder import Replaced
from service.imaging.decoder_pool import COSTLY, MOST_IDLE, ORDINARY, DecoderPool
from service.imaging.decoder_process import SIZE, Work, decode_pictures, receive
from service.imaging.fork_server import DecoderError, ForkServer
from tests.service.decoders import decoders
from tests.service.hostile import large, png
from tests.service.tiny_bundle import dark_square, picture_bytes

T = TypeVar("T")

FRAME = 64
PICTURE = picture_bytes(dark_square())
# More than an ordinary picture may take here: 24 MB, and a tenth of a second of CPU.
COSTLY_PICTURE = png((3000, 2000))
LITTLE_MEMORY = 20 * 2**20
# Half a second of CPU, and 160 MB.
LARGEST_PICTURE = large("PNG")

Job = Callable[[DecoderPool], Coroutine[Any, Any, T]]


@dataclass
class Pools:
    """Runs jobs with a pool of their own, and notes why its processes were replaced."""

    server: ForkServer
    replaced: list[Replaced] = field(default_factory=list)

    def run(self, job: Job[T], **options: Any) -> T:
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


@pytest.fixture
def pools(fork_server: ForkServer) -> Pools:
    return Pools(fork_server)


async def decode(pool: DecoderPool, data: bytes) -> Picture:
    return (await pool.decode(data, "a")).picture


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
    assert pools.replaced == ["cpu_time", "cpu_time"], "it is tried again among the costly pictures"


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
        pools.run(lambda pool: pool.decode(LARGEST_PICTURE, "a"), ordinary=COSTLY)
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


@pytest.mark.parametrize(("signal", "error"), [(SIGKILL, DecoderError), (SIGSEGV, UndecodablePicture)])
def test_a_process_that_dies_while_it_decodes(pools: Pools, signal: int, error: type[Exception]) -> None:
    async def job(pool: DecoderPool) -> None:
        decoding = asyncio.create_task(pool.decode(LARGEST_PICTURE, "a"))
        while not (busy := [p for p in decoders() if p.memory_info().rss > 60e6]):
            await asyncio.sleep(0.002)
        busy[0].send_signal(signal)
        with pytest.raises(error):
            await decoding
        assert await decode(pool, PICTURE)

    pools.run(job)
    assert pools.replaced == ["killed" if signal == SIGKILL else "crashed"]


def test_a_process_that_died_between_two_pictures_fails_none(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> None:
        await pool.decode(PICTURE, "a")
        (idle,) = decoders()
        idle.kill()
        while idle.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.001)
        assert await decode(pool, PICTURE)

    pools.run(job)
    assert pools.replaced == ["killed"]


@pytest.mark.integration
def test_a_fork_server_that_was_killed_is_started_again() -> None:
    async def job(pool: DecoderPool) -> None:
        await pool.decode(PICTURE, "a")
        child = max(psutil.Process().children(), key=lambda process: process.create_time())
        child.kill()
        assert await decode(pool, PICTURE), "the process that it forked lives on"
        assert (await pool.decode(COSTLY_PICTURE, "a")).picture.width == 3000, "another one needs a fork"

    with ForkServer() as server:
        Pools(server).run(job)


@pytest.mark.integration
def test_a_fork_server_that_hangs_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.imaging.fork_server._HANGS_SECONDS", 1.0)

    async def job(pool: DecoderPool) -> None:
        await pool.decode(PICTURE, "a")
        child = max(psutil.Process().children(), key=lambda process: process.create_time())
        child.suspend()
        assert (await pool.decode(COSTLY_PICTURE, "a")).picture.width == 3000
        assert not child.is_running()

    with ForkServer() as server:
        Pools(server).run(job)


@pytest.mark.integration
def test_a_system_without_room_for_processes_is_noticed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[None] = []

    async def job(pool: DecoderPool) -> None:
        child = max(psutil.Process().children(), key=lambda process: process.create_time())
        child.kill()
        with monkeypatch.context() as context:
            context.setattr(subprocess, "Popen", _no_room)
            with pytest.raises(DecoderError):
                await pool.decode(PICTURE, "a")
            assert pool.failing
            with pytest.raises(DecoderError):
                pool.require_working()
        assert await decode(pool, PICTURE)
        pool.require_working()
        assert failures == [None]

    with ForkServer(on_failure=lambda: failures.append(None)) as server:
        Pools(server).run(job)


def test_a_process_without_files_left_is_no_fault_of_the_picture(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job(pool: DecoderPool) -> None:
        with monkeypatch.context() as context:
            context.setattr(socket, "socketpair", _no_room)
            with pytest.raises(DecoderError):
                await pool.decode(PICTURE, "a")
        assert await decode(pool, PICTURE)

    pools.run(job)


def _no_room(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EMFILE, "too many open files")


class BrokenProcess(ForkServer):
    """Stands for a fork server whose process answers so to every picture, and does not end by itself."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.reaped: list[bool] = []

    def fork(self, work: Work, channel: socket.socket) -> int:  # noqa: ARG002
        threading.Thread(target=self._answer, args=(channel.dup(),)).start()
        return 1

    def _answer(self, channel: socket.socket) -> None:
        with channel:
            receive(channel, *SIZE.unpack(receive(channel, SIZE.size)))
            channel.sendall(SIZE.pack(len(self.text)) + self.text + bytes(FRAME * FRAME * 3))

    def reap(self, pid: int, *, kill: bool) -> int:  # noqa: ARG002
        self.reaped.append(kill)
        return -SIGKILL


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"}",
        b"[]",
        b"\xff",
        b"[" * 4000,
        b'{"picture": [1, 2]}',
        b'{"picture": ["9", 9, "PNG", []]}',
        b'{"picture": [0, 9, "PNG", []]}',
        b'{"picture": [99999, 99999, "PNG", []]}',
        b'{"picture": [9, 9, "<b>", []]}',
        b'{"picture": [9, 9, "PNG", ["none such"]]}',
        b'{"picture": [9, 9, "PNG", [[]]]}',
        b'{"error": "ZeroDivisionError", "detail": ""}',
        b'{"error": "CostlyPicture", "detail": 5}',
    ],
)
def test_a_process_that_answers_nonsense_has_crashed(text: bytes) -> None:
    server = BrokenProcess(text)
    pools = Pools(server)
    with pytest.raises(UndecodablePicture):
        pools.run(lambda pool: pool.decode(PICTURE, "a"))
    assert pools.replaced == ["crashed"]
    assert server.reaped == [True], "it was killed: waiting for its end would keep the fork server from others"


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
        decoding = asyncio.create_task(pool.decode(LARGEST_PICTURE, "a"))
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


def test_a_process_has_no_files_and_no_secrets(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard streams go nowhere; the only other file is the socket to its parent, and it can open no more."""
    monkeypatch.setenv("CIN_RECORDS_URL", "redis://:secret@elsewhere")

    async def job(pool: DecoderPool) -> None:
        await pool.decode(PICTURE, "a")
        (process,) = decoders()
        files = {Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in range(20) if _has(process, number)}
        assert {str(file).partition(":")[0] for file in files} == {"/dev/null", "socket"}
        for limit in (psutil.RLIMIT_NOFILE, psutil.RLIMIT_NPROC, psutil.RLIMIT_FSIZE, psutil.RLIMIT_CORE):
            assert process.rlimit(limit) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_AS)[1] < 600e6
        assert process.environ() == {}
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000", "it is the first to go"

    pools.run(job)


def _has(process: psutil.Process, number: int) -> bool:
    return Path(f"/proc/{process.pid}/fd/{number}").is_symlink()


@contextmanager
def _decoding(work: Work) -> Iterator[socket.socket]:
    """The parent's end of a socket at whose other end a thread of this process decodes."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=decode_pictures, args=(theirs, work))
    thread.start()
    with ours:
        yield ours
    thread.join(10)
    assert not thread.is_alive()
    theirs.close()


def test_what_passes_between_the_processes() -> None:
    work = Work(FRAME, None, PictureLimits(max_memory=ORDINARY.memory_bytes), cpu_seconds=100, memory_bytes=0)
    with _decoding(work) as channel:
        for data, kind in ((PICTURE, b"picture"), (b"no", b"UnsupportedPicture"), (LARGEST_PICTURE, b"CostlyPicture")):
            channel.sendall(SIZE.pack(len(data)) + data)
            (size,) = SIZE.unpack(receive(channel, SIZE.size))
            assert kind in receive(channel, size)
            if data is PICTURE:
                frame = receive(channel, FRAME * FRAME * 3)
                assert frame == read_picture(data, FRAME).frame.tobytes()
        with pytest.raises(TimeoutError):
            receive(channel, 1, time.monotonic() + 0.01)
