"""A server under test: started, waited for, measured with all its child processes, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from service.bundle import load_bundle
from service.settings import Settings, usable_cpus
from tests.benchmarks.load import BOUNDARY
from tests.paths import REPOSITORY

START_SECONDS = 180.0

# The other variant, made for the provider.
_FAST = {"cpu": "int8", "cuda": "fp16"}


@dataclass(frozen=True)
class System:
    """How a server is started: ``command`` listens on the port that the environment's ``port_variable`` names."""

    name: str
    command: Sequence[str]
    packages: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    port_variable: str = "BENCHMARK_PORT"


def _rival(module: str, *packages: str, **environment: str) -> System:
    name = f"{module.removesuffix('_server')}-{environment['BENCHMARK_NETWORK']}"
    return System(name, (sys.executable, "-m", f"tests.benchmarks.rivals.{module}"), packages, environment)


def _ours(variant: str, provider: str) -> System:
    return System(
        "ours" if variant == "fp32" else f"ours-{variant}",
        (sys.executable, "-c", "from service.cli.main import main; main()", "serve"),
        ("onnxruntime-gpu", "fastapi", "uvicorn"),
        {"CIN_PROVIDER": provider, "CIN_VARIANT": variant, "CIN_LOG_LEVEL": "error"},
        port_variable="CIN_PORT",
    )


def systems(provider: str) -> dict[str, System]:
    """Ours at every precision, the servers with the same float32 network, and eager PyTorch, by name."""
    variants = [variant.name for variant in load_bundle(Settings().bundle).manifest.variants]
    all_systems = [_ours(variant, provider) for variant in variants if variant in ("fp32", _FAST[provider])]
    for network in ("onnx", "eager"):
        setting = {"BENCHMARK_NETWORK": network, "BENCHMARK_PROVIDER": provider}
        all_systems.append(_rival("litserve_server", "litserve", **setting))
        if network == "onnx":
            all_systems.append(_rival("bentoml_server", "bentoml", **setting))
            all_systems.append(_rival("ray_server", "ray", **setting))
        else:
            all_systems.append(_rival("fastapi_server", "fastapi", "torch", **setting))
    return {system.name: system for system in all_systems}


def workers_and_threads(provider: str) -> tuple[int, int]:
    """How many processes a rival runs, and how many threads each: all cores, none shared; one process for a GPU."""
    return (usable_cpus(), 1) if provider == "cpu" else (1, usable_cpus())


class Server:
    """A running server; a context manager. ``url`` takes the pictures."""

    def __init__(self, system: System, *, port: int, provider: str, log: Path, **settings: str) -> None:
        self.system, self.url = system, f"http://127.0.0.1:{port}/predict"
        workers, threads = workers_and_threads(provider)
        own = {
            system.port_variable: str(port),
            "BENCHMARK_WORKERS": str(workers),
            "BENCHMARK_THREADS": str(threads),
            "PYTHONPATH": str(REPOSITORY),
        }
        self._environment = {**os.environ, **own, **system.environment, **settings}
        self._log = log
        self.start_seconds = 0.0

    def __enter__(self) -> Self:
        began = time.perf_counter()
        self._process = psutil.Popen(
            self.system.command,
            env=self._environment,
            cwd=REPOSITORY,
            stdout=self._log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait(began)
        except BaseException:
            self._stop()
            raise
        self.start_seconds = time.perf_counter() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        family = self._family()
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _wait(self, began: float) -> None:
        """Until the server answers requests at all; an empty form is no picture, so that is the cheapest one."""
        content_type = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        while time.perf_counter() < began + START_SECONDS:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.system.name} ended at its start; see {self._log}")
            with suppress(httpx.HTTPError):
                answer = httpx.post(self.url, content=f"--{BOUNDARY}--\r\n", headers=content_type, timeout=30.0)
                if answer.status_code not in (404, 502, 503):
                    return
            time.sleep(0.01)
        raise RuntimeError(f"{self.system.name} did not answer within {START_SECONDS:g} s; see {self._log}")

    def cpu_seconds(self) -> float:
        """CPU time of the whole family so far."""
        return sum(self._of_each(lambda process: sum(process.cpu_times()[:2])))

    def rss_megabytes(self) -> float:
        """Resident memory of the whole family; what processes share is counted in each."""
        return sum(self._of_each(lambda process: process.memory_info().rss)) / 1e6

    def _of_each(self, figure: object) -> list[float]:
        figures: list[float] = []
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                figures.append(figure(process))  # type: ignore[operator]
        return figures

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._process, *self._process.children(recursive=True)]
        return []
