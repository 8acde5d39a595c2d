"""A real Redis for tests."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.service.waiting import wait_until


def free_port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealRedis:
    """A redis-server of its own, in memory only, or with ``durable`` on the disk."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.port, self.folder, self.durable = free_port(), folder, durable
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command = ["redis-server", *place, "--save", ""]
        if self.durable:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers, "redis-server answers")

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stopped: it keeps its connections and accepts more, and does not answer."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def replaced(self, *, drips: bool) -> Iterator[None]:
        """A listener in its place that never answers, or sends a byte now and then."""
        self.stop()
        over = threading.Event()
        taken: list[socket.socket] = []

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    taken.append(listener.accept()[0])
                for connection in taken if drips else ():
                    with suppress(OSError):
                        connection.sendall(b"+")

        with socket.create_server(("127.0.0.1", self.port)) as listener:
            listener.settimeout(0.1)
            thread = threading.Thread(target=accept)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
                for connection in taken:
                    connection.close()
        self.start()

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
