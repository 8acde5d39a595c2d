"""The predictions of ``cin predict`` in this process, which is also what every actor of a cluster runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple

from service.access.keys import ANYONE, Caller
from service.bundle import Bundle
from service.cli.overlays import OverlayFolder
from service.cli.reports import Outcome
from service.cli.s3 import Location, read_location
from service.cli.tables import Source
from service.imaging import PictureError
from service.imaging.fork_server import DecoderError
from service.inference.answers import DeviceError, EngineError
from service.prediction.predictor import Predictor
from service.problems import ServiceError
from service.runtime import predicting
from service.settings import Settings

_CALLER = Caller(ANYONE, counted_as=ANYONE)

# What the answer that an image has already was made from.
Answered = Callable[[Location], Source | None]


def never(_: Location) -> None:
    """No image has an answer."""


class Backend(NamedTuple):
    """Where images are predicted: the variant that runs there, and the outcomes of images, each once."""

    variant: str
    outcomes: Callable[[Iterable[Location], OverlayFolder | None, Answered], AsyncGenerator[Outcome, None]]


@asynccontextmanager
async def in_this_process(settings: Settings, bundle: Bundle) -> AsyncIterator[Backend]:
    """Predictions in this process, in order. Raises :class:`BundleError` or :class:`EngineError` when it cannot run."""
    async with predicting(settings, bundle) as predictor:
        yield Backend(
            predictor.scheduler.engine.variant.name,
            lambda paths, overlays, answered: predict_files(
                predictor,
                paths,
                in_flight=in_flight(predictor),
                max_bytes=settings.max_upload_bytes,
                overlays=overlays,
                answered=answered,
            ),
        )


def in_flight(predictor: Predictor) -> int:
    """How many images make full batches and busy threads."""
    return 2 * predictor.scheduler.threads + 3 * predictor.scheduler.max_batch


async def predict_files(
    predictor: Predictor,
    paths: Iterable[Location],
    *,
    in_flight: int,
    max_bytes: int,
    overlays: OverlayFolder | None = None,
    answered: Answered = never,
) -> AsyncGenerator[Outcome, None]:
    """The outcome of every image, in order; at most ``in_flight`` images of ``max_bytes`` are in memory.

    Overlays are written into ``overlays``, unless the answer that an image had before was made from something else.
    Raises :class:`EngineError` when the device fails: every other image would
    fail as well.
    """
    upcoming, tasks = iter(paths), deque[asyncio.Task[Outcome]]()
    try:
        while True:
            while len(tasks) < in_flight and (path := next(upcoming, None)) is not None:
                tasks.append(asyncio.create_task(_predict_file(predictor, path, max_bytes, overlays, answered)))
            if not tasks:
                return
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _predict_file(
    predictor: Predictor, path: Location, max_bytes: int, overlays: OverlayFolder | None, answered: Answered
) -> Outcome:
    try:
        data = await asyncio.to_thread(read_location, path, max_bytes)
        result = await predictor.predict(data, _CALLER, predictor.point, began=perf_counter())
    except DeviceError:
        raise
    except ServiceError as error:  # the device failed on another image
        raise EngineError(predictor.health.failure) from error
    except (PictureError, DecoderError, EngineError, OSError) as error:
        return Outcome(path, None, _reason(error))
    if overlays is not None:
        source = Source.of(result.prediction)
        if answered(path) not in (None, source):
            return Outcome(path, result.prediction, overlays_error="replaced after its answer; choose another --out")
        try:
            await predictor.scheduler.compute(lambda: overlays.write(path, result.maps, source), _CALLER.counted_as)
        except OSError as error:
            return Outcome(path, result.prediction, overlays_error=_reason(error))
    return Outcome(path, result.prediction)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
