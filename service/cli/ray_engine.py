"""``cin predict --engine ray``: the same predictions by actors on many machines, with Ray Data.

Paths go out in blocks, outcomes come back as they are done; this process alone writes them into the results file, which
is the checkpoint. Actors read the images themselves, so there are no tasks that read or write, which could wait for
CPUs that actors hold. When an actor or a node is lost, Ray repeats its blocks; an outcome that came before is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from service.bundle import Bundle
from service.cli.one_process import Answered, Backend
from service.cli.overlays import OverlayFolder
from service.cli.paths import is_remote
from service.cli.placement import ClusterError, Pool, Resources, place
from service.cli.ray_actor import ERROR, INDEX, PATH, PREDICTION, Actor, Task, sent
from service.cli.reports import Outcome
from service.cli.s3 import Location, locate
from service.inference.answers import EngineError
from service.inference.selection import choose_variant
from service.prediction.schemas import Prediction
from service.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_RAY = find_spec("ray") is not None and find_spec("pyarrow") is not None

# A second of work or so: little is repeated when an actor is lost, and actors end at about the same time.
_BLOCK, _BLOCK_GPU = 16, 256
_SILENCE_SECONDS = 60
_STOP_SECONDS = 10
_CONNECT_SECONDS = 5.0


class Cluster(NamedTuple):
    """What is asked for: the cluster (None: one of this machine alone), and actors on CPUs or on GPUs."""

    address: str | None
    actors: int | None
    gpus: int | None


@asynccontextmanager
async def on_ray(
    settings: Settings, bundle: Bundle, cluster: Cluster, archive: Sequence[Location]
) -> AsyncIterator[Backend]:
    """Predictions by the cluster, in whichever order they are done.

    Raises :class:`ClusterError` when there is none, or when it is too small.
    """
    if not _RAY:
        raise ClusterError("install the service with its extra [ray], on every node")
    _require_answer(cluster.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it sends figures to its makers
    # Else the thread that waits for outcomes starts another Ray when Ctrl-C has ended this one.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    import ray

    try:
        ray.init(
            address=cluster.address or "local",
            include_dashboard=False if cluster.address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # of many kinds, and plain ones
        raise ClusterError(f"no Ray cluster at {cluster.address or 'this machine'}: {_said(error)}") from error
    try:
        pool = place(*_resources(), actors=cluster.actors, gpus=cluster.gpus)
        variant = choose_variant(bundle, settings.variant, "cuda" if pool.gpus else "cpu").name
        task = Task(
            sent(settings, threads=pool.threads, gpu=bool(pool.gpus)),
            version("clinical-inspired-network"),
            bundle.sha256,
            variant,
            str(Path.cwd()),
            [str(path) for path in archive],
        )

        def outcomes(
            paths: Iterable[Location], _overlays: OverlayFolder | None, _answered: Answered
        ) -> AsyncGenerator[Outcome, None]:
            listed = list(map(os.fsencode, paths))
            # An image, because the folder where an archive is not mounted is there, and empty.
            files = (path for path in map(os.fsdecode, listed) if not is_remote(path))
            sample = next((path for path in files if Path(path).exists()), None)
            return _outcomes(listed, task._replace(archive=[*task.archive, *([sample] if sample else [])]), pool)

        yield Backend(variant, outcomes)
    finally:
        ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Raises :class:`ClusterError` when nothing answers at ``host:port``: Ray would try for many minutes."""
    if address is None or address == "auto":
        return
    match = re.fullmatch(r"\[?([0-9A-Za-z.:_-]+?)\]?:(\d{1,5})", address)
    if match is None:
        raise ClusterError(f"--address {address:.60}: write host:port, as ray start says it, or auto")
    try:
        socket.create_connection((match[1], int(match[2])), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {error}") from error


def _resources() -> tuple[list[Resources], Resources]:
    """What every node has, and what no job has reserved."""
    import ray

    def of(resources: dict[str, float]) -> Resources:
        return Resources(resources.get("CPU", 0), resources.get("GPU", 0))

    return [of(node["Resources"]) for node in ray.nodes() if node["Alive"]], of(ray.available_resources())


async def _outcomes(paths: Sequence[bytes], task: Task, pool: Pool) -> AsyncGenerator[Outcome, None]:
    """The outcome of every path, once. Raises :class:`EngineError` when an actor cannot start or its device fails."""
    if not paths:
        return
    import ray

    done = bytearray(len(paths))
    try:
        tables = iter(_predicted(paths, task, pool))
        while (table := await _next(tables)) is not None:
            for row in table.to_pylist():
                if done[row[INDEX]]:
                    continue
                done[row[INDEX]] = True
                prediction = row[PREDICTION] and Prediction.model_validate_json(row[PREDICTION])
                yield Outcome(locate(os.fsdecode(paths[row[INDEX]])), prediction, row[ERROR])
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise EngineError(_said(error)) from error
    if not all(done):
        raise ClusterError(f"Ray gave no outcome of {done.count(0)} images; repeat the command")


async def _next(tables: Iterator[pa.Table]) -> pa.Table | None:
    """The next table, in another thread; says so when it takes long, because Ray would not."""
    waiting, seconds = asyncio.ensure_future(asyncio.to_thread(next, tables, None)), 0
    waiting.add_done_callback(lambda task: task.cancelled() or task.exception())  # also when it is left alone
    try:
        while not (await asyncio.wait([waiting], timeout=_SILENCE_SECONDS))[0]:
            seconds += _SILENCE_SECONDS
            nodes, free = await asyncio.to_thread(_resources)
            typer.echo(f"cin: no answer for {seconds} s; {len(nodes)} nodes, {free.cpus:g} CPUs are free", err=True)
    except asyncio.CancelledError:
        await asyncio.wait([waiting], timeout=_STOP_SECONDS)  # Ray complains when it ends while somebody waits
        raise
    return waiting.result()


def _predicted(paths: Sequence[bytes], task: Task, pool: Pool) -> Iterable[pa.Table]:
    """The outcomes in blocks, as they are done."""
    import pyarrow as pa
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised as well
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    size = _BLOCK_GPU if pool.gpus else _BLOCK
    blocks = [
        pa.table({INDEX: range(start, min(start + size, len(paths))), PATH: paths[start : start + size]})
        for start in range(0, len(paths), size)
    ]
    outcomes = ray.data.from_arrow(blocks).map_batches(
        Actor,
        fn_constructor_args=[task],
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, len(blocks))),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    tables: Iterable[pa.Table] = outcomes.iter_batches(batch_size=None, batch_format="pyarrow")
    return tables


def _said(error: BaseException) -> str:
    """What happened: the last line of Ray's account of it, without the exception's name."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^[\w.]+Error: ", "", lines[-1])
