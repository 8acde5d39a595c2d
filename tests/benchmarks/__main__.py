"""Run the benchmark and write ``results/bench-<provider>.json`` and ``.md``, every finished part at once."""

from __future__ import annotations

import asyncio
import json
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import numpy as np
import torch
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from model_training.files import write_text
from model_training.training.revision import git_commit
from service.bundle import load_bundle
from service.settings import Settings, usable_cpus
from tests.benchmarks.limit import limit, limit_of_single_cores
from tests.benchmarks.load import Load, closed_loop, form, open_loop, while_polling
from tests.benchmarks.pictures import SIZES, workloads
from tests.benchmarks.queueing import response_times
from tests.benchmarks.report import ratios, tables
from tests.benchmarks.servers import Server, System, systems, workers_and_threads
from tests.paths import REPOSITORY
from tests.processor import processor

CLIENTS = {"cpu": 8, "cuda": 64}

# Offered loads at which servers are compared, as shares of what the better of ours and the best rival's capacity.
SHARES = (0.5, 0.8)

# At most, before anything is measured of a server: its first answers take longer.
WARM_UP_SECONDS = 3.0

# Seconds after which a server whose clients have left is at rest.
_REST = 1.0

Figures = dict[str, Any]


class Benchmark:
    """One run on one machine; every finished part is written at once."""

    def __init__(self, out: Path, provider: str, *, seconds: float, rounds: int) -> None:
        self.out, self.provider, self.seconds, self.rounds = out, provider, seconds, rounds
        self.console = Console(stderr=True)
        self.bodies = {name: [form(picture) for picture in pictures] for name, pictures in workloads().items()}
        self.log = Path(tempfile.mkdtemp(prefix="benchmark-")) / "servers.log"
        bundle = load_bundle(Settings().bundle)
        workers, threads = workers_and_threads(provider)
        self.result: Figures = {
            "command": "python -m tests.benchmarks " + " ".join(sys.argv[1:]),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(),
            "machine": _machine(provider),
            "provider": provider,
            "python": platform.python_version(),
            "bundle": {"name": bundle.manifest.name, "version": bundle.manifest.version, "sha256": bundle.sha256},
            "pictures": {name: [len(p) for p in pictures] for name, pictures in workloads().items()},
            "rivals": {"processes": workers, "threads_each": threads},
            "clients": CLIENTS[provider],
            "seconds": seconds,
            "rounds": rounds,
            "limit": {},
            "systems": {},
            "equal_load": {},
            "ours": {},
        }

    def save(self) -> None:
        """Write what there is so far."""
        self.result["ratios"] = ratios(self.result)
        write_text(self.out, json.dumps(self.result, indent=2) + "\n")
        write_text(self.out.with_suffix(".md"), tables(self.result))

    def server(self, system: System, **settings: str) -> Server:
        """The system, on a port that is free now."""
        return Server(system, port=_free_port(), provider=self.provider, log=self.log, **settings)

    def _warm_up(self, server: Server, bodies: Sequence[bytes]) -> None:
        _load(closed_loop(server.url, bodies, clients=2, seconds=min(WARM_UP_SECONDS, 2 * self.seconds)))

    def measure_limits(self, variants: Sequence[str]) -> None:
        """The loop without HTTP, for every variant."""
        for variant in variants:
            for name, pictures in workloads().items():
                with self.console.status(f"limit, {variant}, {name}"):
                    per_second = limit(variant, self.provider, pictures, seconds=self.seconds)
                self.console.print(f"limit, {variant}, {name}: {per_second:.1f} a second")
                self.result["limit"].setdefault(variant, {})[name] = round(per_second, 3)
                if self.provider == "cpu":
                    with self.console.status(f"limit of single cores, {variant}, {name}"):
                        per_second = limit_of_single_cores(variant, pictures, seconds=self.seconds)
                    single = self.result["limit"].setdefault(f"{variant}, a core for each picture", {})
                    single[name] = round(per_second, 3)
        self.save()

    def measure_capacity(self, system: System) -> None:
        """One client, and many, in closed loops; the medians over all rounds."""
        rounds: list[Figures] = []
        for _ in range(self.rounds):
            with self.console.status(f"{system.name}: starting"), self.server(system) as server:
                rounds.append({"start_seconds": server.start_seconds, "workloads": {}})
                for name, bodies in self.bodies.items():
                    self.console.print(f"{system.name}, {name}")
                    self._warm_up(server, bodies)
                    single = _load(closed_loop(server.url, bodies, clients=1, seconds=self.seconds / 2))
                    before = server.cpu_seconds()
                    many = _load(closed_loop(server.url, bodies, clients=CLIENTS[self.provider], seconds=self.seconds))
                    busy = (server.cpu_seconds() - before) / many.seconds
                    figures = {"single": single.figures(), "many": {**many.figures(), "cpus_busy": round(busy, 2)}}
                    rounds[-1]["workloads"][name] = figures
                rounds[-1]["rss_mb"] = server.rss_megabytes()
        self.result["systems"][system.name] = {
            "versions": {package: version(package) for package in system.packages},
            **_median(rounds),
        }
        self.save()

    def measure_equal_load(self, contenders: Sequence[System]) -> None:
        """The same offered load on all, in open loops: shares of what the best rival and ours can both take."""
        capacity = {s.name: self.result["systems"][s.name]["workloads"] for s in contenders}
        for system in contenders:
            shown: Figures = {}
            with self.server(system) as server:
                for name, bodies in self.bodies.items():
                    best = max(capacity[s.name][name]["many"]["per_second"] for s in contenders if s.name != "ours")
                    both = min(best, capacity["ours"][name]["many"]["per_second"])
                    self._warm_up(server, bodies)
                    for share in SHARES:
                        self.console.print(f"{system.name}, {name}, {share:.0%} of {both:.1f} a second")
                        load = _load(open_loop(server.url, bodies, rate=share * both, seconds=2 * self.seconds))
                        shown.setdefault(name, {})[f"{share:g}"] = {"offered": share * both, **load.figures()}
            self.result["equal_load"][system.name] = shown
            self.save()

    def measure_ours(self, system: System) -> None:
        """Our own promises: the tail at 70 % load, three times the capacity, liveness, memory."""
        name = next(iter(SIZES))
        bodies, own = self.bodies[name], self.result["systems"]["ours"]["workloads"][name]["many"]["per_second"]
        with self.server(system) as server:
            health = server.url.replace("predict", "healthz")
            self._warm_up(server, bodies)
            before = _stages(server.url)
            single = _load(closed_loop(server.url, bodies, clients=1, seconds=self.seconds))
            spent = {stage: seconds - before[stage] for stage, seconds in _stages(server.url).items()}
            steady = _load(open_loop(server.url, bodies, rate=0.7 * own, seconds=3 * self.seconds))
            overload = open_loop(server.url, bodies, rate=3 * own, seconds=2 * self.seconds)
            over, polls = asyncio.run(while_polling(health, overload))
            refused = Load([s._replace(status=200) for s in over.samples if s.status == 429], over.seconds).figures()
            self.result["ours"] = {
                "single": single.figures(),
                "stages_ms": {s: round(1e3 * seconds / len(single.samples), 2) for s, seconds in spent.items()},
                "at_70_percent": {"offered": 0.7 * own, **steady.figures(), **self._queue(name, 0.7 * own)},
                "at_300_percent": {
                    "offered": 3 * own,
                    "goodput_per_second": over.figures()["per_second"],
                    "refused": refused,
                    "neither": sum(s.status not in (200, 429) for s in over.samples),
                    "healthz": polls.figures(),
                },
                "rss_mb": server.rss_megabytes(),
            }
        self.save()

    def _queue(self, workload: str, offered: float) -> Figures:
        """The tail of a queue that does nothing but wait for one core each, with ``offered`` pictures a second."""
        alone = self.result["limit"].get("fp32, a core for each picture")
        if alone is None:
            return {}
        seconds = usable_cpus() / alone[workload]
        times = response_times(usable_cpus(), seconds, offered / alone[workload])
        p99 = float(np.percentile(times, 99))
        return {"one_core_ms": round(1e3 * seconds, 2), "queue_p99_ms": round(1e3 * p99, 1)}

    def soak(self, system: System, requests: int) -> None:
        """Resident memory over many requests of mixed sizes."""
        mixed = [body for bodies in zip(*self.bodies.values(), strict=True) for body in bodies]
        rss: dict[int, float] = {}
        with self.server(system) as server:
            done = 0
            while done < requests:
                load = _load(closed_loop(server.url, mixed, clients=4, seconds=10.0))
                done += len(load.samples)
                time.sleep(_REST)  # a large picture still under way would count as growth
                rss[done] = round(server.rss_megabytes(), 1)
                self.console.print(f"{done} requests: {rss[done]} MB")
        settled = [mb for count, mb in rss.items() if count >= min(2000, requests // 10)]
        self.result["ours"]["soak"] = {
            "requests": done,
            "rss_mb": rss,
            "growth_mb": round(max(settled) - settled[0], 1),
        }
        self.save()


def _load(running: Any) -> Load:
    load: Load = asyncio.run(running)
    return load


def _stages(url: str) -> dict[str, float]:
    """Seconds that the service has spent in each stage so far, by its own metrics."""
    text = httpx.get(url.replace("predict", "metrics")).text
    return {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "cin_stage_duration_seconds_sum"
    }


def _median(rounds: Sequence[Mapping[str, Any]]) -> Figures:
    """Of dictionaries of figures of one shape, the median of each figure."""
    first = rounds[0]
    return {
        key: _median([r[key] for r in rounds])
        if isinstance(first[key], dict)
        else round(statistics.median(r[key] for r in rounds), 3)
        for key in first
    }


def _machine(provider: str) -> str:
    """Processor, cores that may be used, and the GPU that was."""
    gpu = torch.cuda.get_device_name() if provider == "cuda" else "no GPU"
    return f"{processor()}, {gpu}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(
    provider: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the network runs.")] = "cpu",
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 12.0,
    rounds: Annotated[int, typer.Option(help="How often every system is started and measured.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="Systems, by name; all by default.")] = None,
    soak: Annotated[int, typer.Option(help="Requests of the memory test; 0 leaves it out.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File of the figures; default: results/bench-<provider>.json.")
    ] = None,
) -> None:
    """Compare the service with the limit of this machine, other servers, and eager PyTorch."""
    known = systems(provider)
    if unknown := set(only or ()) - set(known):
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; choose among {', '.join(known)}")
    run = Benchmark(out or REPOSITORY / "results" / f"bench-{provider}.json", provider, seconds=seconds, rounds=rounds)
    variants = [v.name for v in load_bundle(Settings().bundle).manifest.variants]
    chosen = {name: system for name, system in known.items() if not only or name in only}
    steps: list[Callable[[], None]] = [lambda: run.measure_limits(variants)]
    steps += [lambda system=system: run.measure_capacity(system) for system in chosen.values()]  # type: ignore[misc]
    if "ours" in chosen:
        same = [system for name, system in chosen.items() if name == "ours" or name.endswith("-onnx")]
        steps.append(lambda: run.measure_equal_load(same) if len(same) > 1 else None)
        steps.append(lambda: run.measure_ours(chosen["ours"]))
        if soak:
            steps.append(lambda: run.soak(chosen["ours"], soak))
    for step in steps:
        step()
    run.console.print(tables(run.result), markup=False)
    print(f"{usable_cpus()} CPUs; written to {run.out}")  # noqa: T201


if __name__ == "__main__":
    typer.run(main)
