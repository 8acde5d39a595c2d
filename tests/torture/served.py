"""``cin serve`` as a process of its own, watched from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.paths import REPOSITORY

PROGRAM = "from service.cli.main import main; main()"
START_SECONDS = 120.0


class Served:
    """A running service on a free port of this machine; a context manager that kills what is left."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, program: str = PROGRAM, key: str | None = None
    ) -> None:
        """``settings`` are ``CIN_`` variables; ``program`` may bend the service before it calls ``main``.

        ``key`` is for its metrics, where it asks for keys.
        """
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._settings, self._program = dict(settings or {}), program
        self.log: list[str] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CIN_")}
        own = {"CIN_PORT": "0", "CIN_PROVIDER": "cpu", "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._program, "serve"],
            cwd=self._folder.name,  # with no .env and no module of anybody
            env=inherited | own | self._settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.host, self.port = "127.0.0.1", self._find_port()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=10)
        self._folder.cleanup()

    def _find_port(self) -> int:
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        try:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                self.log.append(line)
                if found := re.search(r"Serving at http://[\d.]+:(\d+)", line):
                    port = int(found[1])
                    break
            else:
                raise RuntimeError("the service did not start:\n" + "".join(self.log))
        finally:
            timer.cancel()
        # The greeting comes a moment before the port is listened on.
        with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
            client.get(f"http://127.0.0.1:{port}/healthz")
        return port

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        self.log.extend(self.process.stdout)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, for a socket."""
        return self.host, self.port

    def end(self, how: int = signal.SIGTERM, *, within: float = 60.0) -> int:
        """Send the signal; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(within)

    def metric(self, name: str, **labels: str) -> float:
        """One of its own metrics; the sum over the labels that are not given."""
        families = text_string_to_metric_families(
            httpx.get(f"{self.url}/metrics", headers=self._headers, timeout=30.0).text
        )
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    def rss_megabytes(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def all_megabytes(self) -> float:
        """Resident memory of the service and its decoder processes; pages that they share count for each."""
        service = psutil.Process(self.process.pid)
        total = 0.0
        for process in [service, *service.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss / 1e6
        return total

    @contextmanager
    def watching_memory(self) -> Iterator[list[float]]:
        """A list of what :meth:`all_megabytes` was, every few milliseconds while the block lasts."""
        seen, over = [self.all_megabytes()], threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                seen.append(self.all_megabytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield seen
        finally:
            over.set()
            watcher.join()

    def num_files(self) -> int:
        """Open file descriptors, as it counts them itself: nobody else may."""
        return round(self.metric("cin_process_open_fds"))
