"""The benchmark measures what it says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.benchmarks.archive_steps import STEPS
from tests.benchmarks.archives import measured, steps
from tests.benchmarks.load import Load, Sample, closed_loop, form, open_loop, while_polling
from tests.benchmarks.queueing import response_times
from tests.benchmarks.report import TARGETS, ratios, tables
from tests.paths import REPOSITORY

Handler = Callable[[web.Request], Awaitable[web.Response]]


def _against(handler: Handler, work: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    """What ``work`` makes of a server that answers by ``handler``."""

    async def play() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{any}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            return await work(f"http://{host}:{port}")
        finally:
            await runner.cleanup()

    return asyncio.run(play())


def test_a_closed_loop_never_has_more_requests_under_way_than_clients() -> None:
    most = now = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        assert (await request.post())["image"].file.read() == b"picture"  # type: ignore[union-attr]
        return web.Response()

    load = _against(handler, lambda url: closed_loop(f"{url}/predict", [form(b"picture")], clients=3, seconds=0.3))
    assert most == 3
    assert {sample.status for sample in load.samples} == {200}
    assert load.figures()["errors"] == 0
    assert min(sample.seconds for sample in load.samples) >= 0.02


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """A server that answers one at a time, slower than requests come: they wait, and their wait counts."""
    turn = asyncio.Lock()

    async def handler(_: web.Request) -> web.Response:
        async with turn:
            await asyncio.sleep(0.05)
        return web.Response()

    load = _against(handler, lambda url: open_loop(f"{url}/predict", [b""], rate=60.0, seconds=0.5))
    assert len(load.samples) == 30
    assert load.seconds >= 30 * 0.05
    assert max(sample.seconds for sample in load.samples) > 0.5


def test_refusals_and_broken_connections_are_no_answers() -> None:
    count = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count % 3 == 0:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=429 if count % 3 == 1 else 200)

    load = _against(handler, lambda url: closed_loop(f"{url}/predict", [b""], clients=1, seconds=0.2))
    assert {sample.status for sample in load.samples} == {0, 200, 429}
    answered = sum(sample.status == 200 for sample in load.samples)
    assert load.figures()["errors"] == len(load.samples) - answered


def test_polls_go_on_beside_the_load() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.path == "/healthz" or request.method == "POST" else 404)

    async def work(url: str) -> tuple[Load, Load]:
        load = closed_loop(f"{url}/predict", [b""], clients=1, seconds=0.5)
        return await while_polling(f"{url}/healthz", load)

    load, polls = _against(handler, work)
    assert load.figures()["errors"] == polls.figures()["errors"] == 0
    assert len(polls.samples) >= 2


def test_figures_are_those_of_the_answers() -> None:
    samples = [Sample(0.0, i / 1000, 200) for i in range(1, 101)] + [Sample(0.0, 9.0, 429)]
    figures = Load(samples, 10.0).figures()
    assert figures["per_second"] == 10.0
    assert figures["p50_ms"] == pytest.approx(50.5)
    assert figures["p99_ms"] == pytest.approx(99.01)
    assert (figures["requests"], figures["errors"]) == (101, 1)
    assert Load(samples[-1:], 10.0).figures() == {"per_second": 0.0, "errors": 1.0}


def _result(**systems: float) -> dict[str, Any]:
    """A result in which every system answers that many pictures a second."""

    def workload(per_second: float) -> dict[str, Any]:
        figures = {"per_second": per_second, "p50_ms": 9.0, "p99_ms": 20.0, "cpus_busy": 1.0}
        return {"single": {"p50_ms": 5.0}, "many": figures}

    return {
        "provider": "cpu",
        "limit": {"fp32": {"small": 20.0}, "int8": {"small": 40.0}},
        "systems": {
            name.replace("_", "-"): {
                "start_seconds": 1.0,
                "rss_mb": 300.0,
                "workloads": {"small": workload(per_second)},
            }
            for name, per_second in systems.items()
        },
        "equal_load": {
            name.replace("_", "-"): {"small": {"0.8": {"p99_ms": 1000 / per_second}}}
            for name, per_second in systems.items()
        },
        "ours": {},
    }


def test_ratios_are_against_the_best_of_each_kind() -> None:
    found = ratios(_result(ours=19.0, a_onnx=10.0, b_onnx=20.0, a_eager=3.0, b_eager=2.0))
    assert found == {
        "throughput to the limit: small": {"value": 0.95, "target": "at least 0.95", "met": True},
        "throughput to the best server of the same network: small": {
            "value": 0.95,
            "target": "at least 1",
            "met": False,
        },
        "throughput to eager PyTorch: small": {"value": 6.333, "target": "at least 5", "met": True},
        "seconds to ready": {"value": 1.0, "target": "at most 3", "met": True},
        "p99 to the best server's at equal load: small, 80%": {"value": 1.053, "target": "at most 1", "met": False},
        "int8 to float32": {"value": 2.0, "target": "at least 2.5", "met": False},
    }


def test_a_part_of_the_benchmark_gives_a_part_of_the_ratios() -> None:
    assert "throughput to eager PyTorch: small" not in ratios(_result(ours=19.0))
    assert ratios({**_result(), "limit": {}}) == {}


RESULTS = sorted((REPOSITORY / "results").glob("bench-*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_tables_are_those_of_the_figures(path: Any) -> None:
    result = json.loads(path.read_text())
    assert result["ratios"] == ratios(result)
    assert path.with_suffix(".md").read_text() == tables(result)
    assert {name.partition(":")[0] for name in result["ratios"]} == set(TARGETS[result["provider"]]) - _not_there(
        result
    )


def _not_there(result: dict[str, Any]) -> set[str]:
    """Targets that this bundle, or a run without the soak, eager PyTorch or other servers, has no figure for."""
    missing = set() if "int8" in result["limit"] else {"int8 to float32"}
    if not any("eager" in name for name in result["systems"]):
        missing.add("throughput to eager PyTorch")
    if all(name.startswith("ours") for name in result["systems"]):
        missing |= {"throughput to the best server of the same network", "p99 to the best server's at equal load"}
    return missing | (set() if "soak" in result["ours"] else {"resident MB grown in the soak"})


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_the_queue_waits_as_long_as_theory_says(load: float) -> None:
    """Pollaczek and Khinchine for one server and constant service; the times of more servers lie below."""
    seconds = 0.05
    one, two = response_times(1, seconds, load), response_times(2, seconds, load)
    assert one.min() == pytest.approx(seconds)
    assert one.mean() == pytest.approx(seconds + load * seconds / (2 * (1 - load)), rel=0.02)
    assert seconds < two.mean() < one.mean()


@pytest.mark.integration
def test_commands_on_archives_do_their_work_and_say_what_it_took(tmp_path: Path) -> None:
    """With few rows, and in this process but for one step."""

    def here(step: str, *paths: Path) -> dict[str, Any]:
        return {"returned": STEPS[step](*paths), "cpu_seconds": 16.0, "peak_mb": 299.99}

    figures = dict(steps(tmp_path, 2000, 2100, here))
    resumed = [name for name, step in figures.items() if step["peak_mb"]["most"]]
    assert len(resumed) == 3
    assert figures[resumed[0]] == {
        "cpu_seconds": {"value": 16.0, "most": 15.0},
        "peak_mb": {"value": 300.0, "most": 300.0},
    }
    alone = measured("list_folder", tmp_path / "archive")
    assert alone["returned"] == 2100
    assert 50 < alone["peak_mb"] < 1000
    assert alone["cpu_seconds"] > 0
    with pytest.raises(AssertionError, match="1, not 0"):
        next(steps(tmp_path, 2000, 2000, lambda *_: {"returned": 1}))


@pytest.mark.alone
def test_the_benchmark_runs_without_the_other_servers(tmp_path: Path) -> None:
    brief = ["--seconds", "0.5", "--only", "ours", "--out", str(tmp_path / "bench.json")]
    command = [sys.executable, "-m", "tests.benchmarks", *brief]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=180)
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result["systems"]["ours"]["workloads"]["1024x768"]["many"]["errors"] == 0
    assert result["ratios"]["seconds to ready"]["value"] > 0
    assert "| ours | 1024x768 |" in (tmp_path / "bench.md").read_text()
