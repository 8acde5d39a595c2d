"""An actor of a Ray cluster: one engine, and the same predictions as in one process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from service.bundle import BundleError, load_bundle
from service.cli.one_process import in_flight, predict_files
from service.cli.s3 import Location, locate
from service.inference.answers import EngineError
from service.prediction.predictor import Predictor
from service.runtime import predicting
from service.settings import SHIPPED_BUNDLE, Settings

# The columns of a block: an image's place in the list, its path in bytes; its prediction as JSON or why there is none.
INDEX, PATH, PREDICTION, ERROR = "index", "path", "prediction", "error"


class Task(NamedTuple):
    """What every actor has to agree with; an actor on another machine reads none of the environment of the command."""

    settings: Mapping[str, Any]
    version: str
    bundle_sha256: str
    variant: str
    folder: str  # that relative paths are relative to
    archive: Sequence[str]  # what must be there: files and folders


class Actor:
    """Predicts blocks of paths. Ray Data calls it for one after the other."""

    def __init__(self, task: Task) -> None:
        """Load the network and check the canary. Raises :class:`EngineError`, with the node's name, when this machine
        would give other answers, or sees another archive."""
        self._task, self._runner, self._entered = task, asyncio.Runner(), AsyncExitStack()
        try:
            self._predictor = self._runner.run(self._start())
        except (BundleError, EngineError) as error:
            self.close()
            self._refuse(str(error))

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The outcomes of a block, by the columns above, in the same order."""
        paths = [locate(os.fsdecode(path), self._task.folder) for path in block[PATH]]
        try:
            answers = self._runner.run(self._predict(paths))
        except EngineError as error:
            self._refuse(str(error))
        predictions, errors = zip(*answers, strict=True)
        return {INDEX: list(block[INDEX]), PREDICTION: list(predictions), ERROR: list(errors)}

    def close(self) -> None:
        """End its processes; Ray kills them with the actor's."""
        self._runner.run(self._entered.aclose())
        self._runner.close()

    async def _start(self) -> Predictor:
        task, settings = self._task, Settings(**self._task.settings)
        if (installed := version("clinical-inspired-network")) != task.version:
            raise EngineError(f"version {installed} is installed, not {task.version}")
        for path in task.archive:
            if isinstance(place := _locate(path, task.folder), Path) and not place.exists():
                raise EngineError(f"{path} is not there; mount the archive at the same place on every node")
        bundle = load_bundle(settings.bundle)
        if bundle.sha256 != task.bundle_sha256:
            raise EngineError(f"the model at {settings.bundle} is another ({bundle.sha256:.16})")
        predictor = await self._entered.enter_async_context(predicting(settings, bundle))
        if (variant := predictor.scheduler.engine.variant.name) != task.variant:
            raise EngineError(f"this machine takes the variant {variant}, not {task.variant}; set CIN_VARIANT for all")
        await predictor.scheduler.warm_up()
        await predictor.health.check_canary()
        if predictor.health.failure is not None:
            raise EngineError(predictor.health.failure)
        return predictor

    async def _predict(self, paths: Iterable[Location]) -> list[tuple[str | None, str | None]]:
        predictor, max_bytes = self._predictor, self._task.settings["max_upload_bytes"]
        return [
            (None if outcome.prediction is None else outcome.prediction.model_dump_json(), outcome.error)
            async for outcome in predict_files(predictor, paths, in_flight=in_flight(predictor), max_bytes=max_bytes)
        ]

    def _refuse(self, why: str) -> NoReturn:
        raise EngineError(f"node {socket.gethostname()}: {why}") from None


def _locate(path: str, folder: str) -> Location:
    try:
        return locate(path, folder)
    except ValueError as error:  # it cannot read addresses
        raise EngineError(str(error)) from error


# Of the settings, those that predictions depend on; a bundle that is shipped is wherever a node has it.
_SENT = (
    *("operating_point", "abstain", "variant", "gpu_memory_bytes", "tensorrt_cache"),
    *("max_upload_bytes", "max_pixels", "max_batch", "deadline_seconds"),
)


def sent(settings: Settings, *, threads: int, gpu: bool) -> dict[str, Any]:
    """The settings of an actor with ``threads`` threads, on a GPU or on the CPU alone."""
    provider = "cpu" if not gpu else "cuda" if settings.provider in ("auto", "cpu") else settings.provider
    of = {name: getattr(settings, name) for name in _SENT}
    of |= {"provider": provider, "require_gpu": gpu, "inference_threads": threads}
    return of if settings.bundle == SHIPPED_BUNDLE else {**of, "bundle": settings.bundle.absolute()}
