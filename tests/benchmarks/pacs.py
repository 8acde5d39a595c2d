"""What results in a PACS cost beside the prediction: ``python -m tests.benchmarks.pacs``; needs Orthanc.

One image at a time, the prediction alone and a whole pass of the watch in turn, so that both meet the same machine: a
pass asks a real Orthanc for images and results, retrieves, predicts, makes the objects and stores them. Milliseconds,
medians; ``more`` is the median of the differences of neighbours. CPU time counts the watch, its decoders and Orthanc.
On a machine that is busy with something else the time grows; CPU time hardly.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, NamedTuple

import psutil
import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from service.access.keys import ANYONE, Caller
from service.bundle import load_bundle
from service.dicom.identity import KINDS, Kind
from service.pacs.client import Pacs
from service.pacs.metrics import WatchMetrics
from service.pacs.results import PredictedResults
from service.pacs.watch import Selection, Watch
from service.prediction.predictor import Predictor
from service.runtime import predicting
from service.settings import Settings, usable_cpus
from tests.benchmarks.decoding import SIZES, example
from tests.service.pacs.orthanc import PASSWORD, USER, Orthanc, missing_orthanc, source

OBJECTS: tuple[tuple[Kind, ...], ...] = (("sr",), KINDS)
_CALLER = Caller(ANYONE, counted_as=ANYONE)


class Cost(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


class _Meter:
    """Measures from here to :meth:`read`."""

    def __init__(self) -> None:
        self._began, self._cpu = perf_counter(), _cpu_seconds()

    def read(self) -> Cost:
        return Cost(perf_counter() - self._began, _cpu_seconds() - self._cpu)


def _cpu_seconds() -> float:
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def costs(
    predictor: Predictor, orthanc: Orthanc, kinds: Sequence[Kind], jpeg: bytes, rounds: int
) -> list[tuple[Cost, Cost]]:
    """Of each round, after one to warm up: the prediction alone, and the pass."""
    found = []
    client = Pacs(orthanc.url, (USER, PASSWORD), max_file_bytes=2**26, timeout_seconds=60)
    async with client as pacs:
        for number in range(rounds + 1):
            orthanc.empty()
            orthanc.put(source(number, jpeg=jpeg))
            meter = _Meter()
            await predictor.predict(jpeg, _CALLER, predictor.point, began=perf_counter())
            alone = meter.read()
            metrics, results = WatchMetrics(CollectorRegistry()), PredictedResults(predictor, kinds)
            watch = Watch(pacs, results, Selection(), metrics, every_seconds=1, in_flight=1)
            meter = _Meter()
            assert await watch.once()
            found.append((alone, meter.read()))
            assert orthanc.num_instances() == 1 + len(kinds)
    return found[1:]


async def measure(orthanc: Orthanc, rounds: int) -> Table:
    """A line for each size of image and choice of objects."""
    table = Table("Image", "Objects", "Alone", "Pass", "Ratio", "More", "Highest more", "CPU alone", "CPU pass")
    settings = Settings(provider="cpu")
    async with predicting(settings, load_bundle(settings.bundle)) as predictor:
        for size in SIZES:
            jpeg = example(size)
            for kinds in OBJECTS:
                found = await costs(predictor, orthanc, kinds, jpeg, rounds)
                more = [whole.wall - alone.wall for alone, whole in found]
                alone, whole = (Cost(*map(median, zip(*each, strict=True))) for each in zip(*found, strict=True))
                ms = (f"{1e3 * s:.0f}" for s in (median(more), max(more), alone.cpu, whole.cpu))
                row = (f"{1e3 * alone.wall:.0f}", f"{1e3 * whole.wall:.0f}", f"{whole.wall / alone.wall:.1f}", *ms)
                table.add_row("{} x {}".format(*size), ",".join(kinds), *row)
    return table


def main(rounds: Annotated[int, typer.Option(min=1, help="Images of each size.")] = 9) -> None:
    """Measure, and print a table and the machine's load."""
    if (reason := missing_orthanc()) is not None:
        raise typer.BadParameter(reason)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        orthanc = Orthanc(Path(folder))
        try:
            before = os.getloadavg()[0]
            console.print(asyncio.run(measure(orthanc, rounds)))
            console.print(f"{usable_cpus()} CPUs; load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
        finally:
            orthanc.kill()


if __name__ == "__main__":
    typer.run(main)
