"""One decoder process: its end, its answers, and what it may do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGSEGV

import psutil
import pytest

from service.imaging import PictureLimits, UndecodablePicture, read_picture
from service.imaging.decoder_pool import ORDINARY, DecoderPool
from service.imaging.decoder_process import SIZE, Work, decode_pictures, receive
from service.imaging.fork_server import DecoderError, ForkServer
from tests.service.decoders import decoders
from tests.service.imaging.pools import FRAME, PICTURE, Pools, decode, largest_picture


@pytest.mark.parametrize(("signal", "error"), [(SIGKILL, DecoderError), (SIGSEGV, UndecodablePicture)])
def test_a_process_that_dies_while_it_decodes(pools: Pools, signal: int, error: type[Exception]) -> None:
    async def job(pool: DecoderPool) -> None:
        decoding = asyncio.create_task(pool.decode(largest_picture(), "a"))
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


class BrokenProcess(ForkServer):
    """Stands for a fork server whose process answers so to every image, and does not end by itself."""

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
        b'{"picture": ["9", 9, "PNG", [], [], null]}',
        b'{"picture": [0, 9, "PNG", [], [], null]}',
        b'{"picture": [99999, 99999, "PNG", [], [], null]}',
        b'{"picture": [9, 9, "<b>", [], [], null]}',
        b'{"picture": [9, 9, "PNG", ["none such"], [], null]}',
        b'{"picture": [9, 9, "PNG", [[]], [], null]}',
        b'{"picture": [9, 9, "DICOM", [], ["none such"], null]}',
        b'{"picture": [9, 9, "DICOM", [], [], -0.1]}',
        b'{"picture": [9, 9, "DICOM", [], [], NaN]}',
        b'{"picture": [9, 9, "DICOM", [], [], Infinity]}',
        b'{"picture": [9, 9, "DICOM", [], [], "0.1"]}',
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


def test_a_process_has_no_files_and_no_secrets(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard streams go nowhere; the only other file is the socket to its parent, and it can open no more."""
    monkeypatch.setenv("CIN_RECORDS_URL", "redis://:secret@elsewhere")

    async def job(pool: DecoderPool) -> None:
        await pool.decode(PICTURE, "a")
        (process,) = decoders()
        if os.geteuid() == 0:  # nobody else may look
            numbers = [number for number in range(20) if _has(process, number)]
            files = {Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in numbers}
            assert {str(file).partition(":")[0] for file in files} == {"/dev/null", "socket"}
            assert process.environ() == {}
        for limit in (psutil.RLIMIT_NOFILE, psutil.RLIMIT_NPROC, psutil.RLIMIT_FSIZE, psutil.RLIMIT_CORE):
            assert process.rlimit(limit) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_AS)[1] < 600e6
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000", "it is the first to go"

    pools.run(job)


@pytest.mark.integration
@pytest.mark.parametrize("call", ["keep_memory_private()", "confine(2**30)"])
def test_no_dump_and_no_debugger_gets_the_memory(call: str) -> None:
    asked = "ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)"
    program = f"import ctypes, resource; from service.imaging.decoder_process import *; {call}; print({asked})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0 (0, 0)\n"


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
        for data, kind in (
            (PICTURE, b"picture"),
            (b"no", b"UnsupportedPicture"),
            (largest_picture(), b"CostlyPicture"),
        ):
            channel.sendall(SIZE.pack(len(data)) + data)
            (size,) = SIZE.unpack(receive(channel, SIZE.size))
            assert kind in receive(channel, size)
            if data is PICTURE:
                frame = receive(channel, FRAME * FRAME * 3)
                assert frame == read_picture(data, FRAME).frame.tobytes()
        with pytest.raises(TimeoutError):
            receive(channel, 1, time.monotonic() + 0.01)
