"""``cin serve`` as a process of its own, on a port of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.access.keys import create_key
from tests.paths import REPOSITORY

PROGRAM = "from service.cli.main import main; main()"
# Of this process's environment only what `make cov` needs to measure others.
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@dataclass
class Served:
    """A running service, and everything it has said so far."""

    process: subprocess.Popen[str]
    url: str = ""
    output: list[str] = field(default_factory=list)

    def client(self, key: str | None = None) -> httpx.Client:
        """A client with a key, or without."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, transport=httpx.HTTPTransport(retries=5))

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(20)


@contextmanager
def served(
    bundle: Path, *, program: str = PROGRAM, before: Callable[[], None] | None = None, **settings: str
) -> Iterator[Served]:
    """A service that takes requests; ``before`` runs in its process first, and ``program`` instead of ours."""
    environment = {
        **MEASURED,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CIN_BUNDLE": str(bundle),
        "CIN_PORT": "0",
        "CIN_PROVIDER": "cpu",
        "CIN_INFERENCE_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve"],
        env={**environment, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=before,
    )
    service = Served(process)
    said = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            service.output.append(line)
            if match := re.search(r"Serving at (http://\S+)", line):
                service.url = match[1]
                said.set()
        said.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert said.wait(60)
        assert service.url, "".join(service.output)
        with service.client() as client:
            assert client.get("/readyz").status_code == 200
        yield service
    finally:
        process.kill()
        process.wait()
        listener.join()


def make_key(path: Path, client: str) -> str:
    """A key in the file at ``path``, which is made as well."""
    return create_key(path, client, announce=lambda key: None)


def cin(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one ``cin`` command to its end."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**MEASURED, "PYTHONPATH": str(REPOSITORY), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
