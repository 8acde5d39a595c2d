"""A fork server that was killed, hangs, or finds no room for processes and files."""

from __future__ import annotations

import errno
import socket
import subprocess
from typing import NoReturn

import psutil
import pytest

from service.imaging.decoder_pool import DecoderPool
from service.imaging.fork_server import DecoderError, ForkServer
from tests.service.imaging.pools import COSTLY_PICTURE, PICTURE, Pools, decode


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
