"""One picture's way from its bytes to the answer: decode, wait, run, decide, keep."""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated, NamedTuple

from fastapi import Query

from service.access.keys import Caller
from service.attention.overlay import AttentionMaps
from service.audit.file import AuditError
from service.bundle import OperatingPoint
from service.imaging import Picture, PictureError
from service.inference.answers import Answer, OutOfMemory
from service.inference.batching import Result, Stopped
from service.prediction.describe import attention_maps, describe
from service.prediction.schemas import AttentionLinks, Findings, Prediction, Timings
from service.problems import (
    INTERNAL,
    MALFORMED,
    NOT_READY,
    QUEUE_FULL,
    ServiceError,
    audit_failed,
    picture_problem,
    records_problem,
)
from service.runtime import Service
from service.storage.store import Record, RecordsError

log = logging.getLogger(__name__)

_GIVEN_UP = "given-up"

PointQuery = Annotated[str | None, Query(description="one of the model's; default: the service's")]


def queue_full() -> ServiceError:
    """The error while too many pictures are under way."""
    detail = "as many pictures are under way as may be; try again shortly"
    return ServiceError(QUEUE_FULL, detail, headers={"Retry-After": "1"})


async def answer(service: Service, caller: Caller, data: bytes, point: OperatingPoint, began: float) -> Prediction:
    """From the bytes of a picture to the answer, which is kept as well; ``began`` is when its request came.

    Either way it is in the audit log before it is given. What is kept of an answer that is not given after all is
    deleted, and the log says that too. Raises :class:`ServiceError`.
    """
    about = _about(service, caller)
    keeping = _Keeping(service, caller)
    try:
        predicted = await _predict(service, data, point, keeping.id, began)
        about["id"] = keeping.id
        record = Record(caller.name, predicted.prediction.model_dump_json(), predicted.maps)
        await keeping.put(record)
        service.require_ready()  # trust may have been lost while it was kept
        service.metrics.observe_prediction(predicted.answer, predicted.findings)
        await service.audit.record("prediction", **about, outcome="answered")
        service.require_ready()  # or written down
    except AuditError:
        await keeping.take_back()
        raise audit_failed() from None
    except ServiceError as error:
        taken_back = keeping.take_back()
        await _note(service, **about, outcome=error.problem.name)
        await taken_back
        raise
    except BaseException as error:  # its time was up, its client left, or it is a fault of ours
        given_up = isinstance(error, asyncio.CancelledError)
        service.audit.note("prediction", **about, outcome=_GIVEN_UP if given_up else INTERNAL.name)
        keeping.take_back()
        raise
    return predicted.prediction


def give_up(service: Service, caller: Caller, prediction: Prediction) -> None:
    """An answer that was ready did not reach its client: delete what is kept of it, and write that down."""
    service.audit.note("prediction", **_about(service, caller), id=prediction.id, outcome=_GIVEN_UP)
    service.in_background(_delete(service, caller, prediction.id))


def _about(service: Service, caller: Caller) -> dict[str, str]:
    return {"by": caller.name, "model": service.engine.bundle.sha256, "variant": service.engine.variant.name}


async def _note(service: Service, **details: str) -> None:
    """Write down what became of a picture. Raises the 503 of a log that cannot be written."""
    try:
        await service.audit.record("prediction", **details)
    except AuditError:
        raise audit_failed() from None


class _Keeping:
    """What is kept of one answer: a thread may still be at it when nobody waits for the answer any more."""

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service, self._caller = service, caller
        self._put: asyncio.Task[None] | None = None
        self.id = secrets.token_hex(16)

    async def put(self, record: Record) -> None:
        """Keep the record. Raises :class:`ServiceError`."""
        service = self._service
        self._put = service.in_background(service.in_worker(lambda: service.records.put(self.id, record)))
        try:
            await asyncio.shield(self._put)
        except RecordsError as error:
            log.error("%s", error)
            raise records_problem(error) from error

    def take_back(self) -> asyncio.Future[None]:
        """Delete the record, if there is or will be one; done also when nobody waits for it."""
        return asyncio.shield(self._service.in_background(self._delete()))

    async def _delete(self) -> None:
        if self._put is not None:
            await asyncio.wait([self._put])
            await _delete(self._service, self._caller, self.id)


async def _delete(service: Service, caller: Caller, id: str) -> None:
    try:
        await service.in_worker(lambda: service.records.delete(id, caller.name))
    except RecordsError as error:
        log.error("a prediction that was given up is kept until it expires: %s", error)


class _Predicted(NamedTuple):
    """An answer, and what else is made of it."""

    prediction: Prediction
    findings: Findings
    answer: Answer
    maps: AttentionMaps


async def _predict(service: Service, data: bytes, point: OperatingPoint, id: str, began: float) -> _Predicted:
    decoded = await _decode(service, data)
    picture = decoded.picture
    result = await _infer(service, picture)
    queue_seconds = decoded.queue_seconds + result.queue_seconds
    service.metrics.stages.labels("queue").observe(queue_seconds)
    service.metrics.stages.labels("inference").observe(result.inference_seconds)
    findings = describe(picture, result.answer, service.engine, point, service.examiner)
    prediction = Prediction(
        **dict(findings),
        id=id,
        created_at=datetime.now(UTC),
        attention=_links(id, has_feature_attention=result.answer.spatial_attention is not None),
        timings_ms=Timings(
            decode=_milliseconds(decoded.seconds),
            queue=_milliseconds(queue_seconds),
            inference=_milliseconds(result.inference_seconds),
            total=_milliseconds(perf_counter() - began),
        ),
    )
    return _Predicted(prediction, findings, result.answer, attention_maps(picture, result.answer))


class _Decoded(NamedTuple):
    """A picture, how long it waited for a core, and how long its decoding took, in seconds."""

    picture: Picture
    queue_seconds: float
    seconds: float


async def _decode(service: Service, data: bytes) -> _Decoded:
    arrived = perf_counter()

    def decode() -> _Decoded:
        began = perf_counter()
        with service.metrics.timed("decode"):
            picture = service.engine.bundle.read_picture(data, service.limits)
        return _Decoded(picture, began - arrived, perf_counter() - began)

    try:
        return await service.on_core(decode)
    except PictureError as error:
        raise picture_problem(error) from error


async def _infer(service: Service, picture: Picture) -> Result:
    try:
        result = await service.batcher.submit(picture.frame)
    except Stopped:
        raise ServiceError(NOT_READY, "the service is shutting down; try again", headers={"Retry-After": "5"}) from None
    except OutOfMemory:
        service.require_ready()
        detail = "the device has no memory for this picture just now; try again shortly"
        raise ServiceError(NOT_READY, detail, headers={"Retry-After": "5"}) from None
    except Exception as error:  # whatever the engine raised; the batcher's listener has logged it
        service.require_ready()
        raise ServiceError(INTERNAL, "the network failed on this picture; it was logged") from error
    service.require_ready()  # an answer from a device that has failed meanwhile is worth nothing
    return result


def chosen_point(service: Service, name: str | None) -> OperatingPoint:
    """The operating point that a request names, or the service's. Raises the 400 of one that the model lacks."""
    if name is None:
        return service.operating_point
    points = {point.name: point for point in service.engine.bundle.manifest.operating_points}
    if name not in points:
        raise ServiceError(MALFORMED, f"no such operating point; the model has: {', '.join(points)}")
    return points[name]


def _links(id: str, *, has_feature_attention: bool) -> AttentionLinks:
    return AttentionLinks(
        lesion=f"/attention/{id}?map=lesion",
        spatial=f"/attention/{id}?map=spatial" if has_feature_attention else None,
        correlation=f"/attention/{id}?map=correlation" if has_feature_attention else None,
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 2)
