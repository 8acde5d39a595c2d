"""``POST /predict`` and the predictions it leaves."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from service.batching import QueueFull, Result, Stopped
from service.bundle import OperatingPoint
from service.errors import (
    DEADLINE,
    INTERNAL,
    MALFORMED,
    NOT_FOUND,
    NOT_READY,
    QUEUE_FULL,
    TOO_LARGE,
    UNDECODABLE,
    UNSUPPORTED_TYPE,
    ServiceError,
    documented,
    picture_problem,
)
from service.findings import attention_maps, describe
from service.imaging import Picture, PictureError
from service.records import Record, RecordsError
from service.routes.dependencies import (
    ClientGone,
    ServiceDep,
    find_record,
    is_id,
    unknown_prediction,
    unless_client_leaves,
)
from service.routes.upload import FIELD, read_upload
from service.runtime import Service
from service.schemas import AttentionLinks, Prediction, Timings

router = APIRouter(tags=["predictions"])

_PICTURE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _PICTURE}, "additionalProperties": False}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **{f"image/{name}": {"schema": _PICTURE} for name in ("jpeg", "png", "webp", "tiff")},
        },
    }
}
_ERRORS = (MALFORMED, TOO_LARGE, UNSUPPORTED_TYPE, UNDECODABLE, QUEUE_FULL, NOT_READY, DEADLINE)


@router.post("/predict", response_model=Prediction, responses=documented(*_ERRORS), openapi_extra=_BODY)
async def predict(
    request: Request,
    service: ServiceDep,
    operating_point: Annotated[str | None, Query(description="one of the model's; default: the service's")] = None,
) -> Response:
    """Diagnose one dermoscopy picture: multipart field `image`, or the picture itself as an `image/*` body.

    JPEG, PNG, WebP or single-page TIFF, told by content. The uploaded bytes are not kept.
    """
    began = perf_counter()
    service.require_ready()
    point = _operating_point(service, operating_point)
    seconds = service.settings.deadline_seconds
    try:
        with service.batcher.place():
            async with asyncio.timeout(seconds):
                data = await read_upload(request, max_bytes=service.limits.max_bytes)
                return await unless_client_leaves(request, _answer(service, data, point, began))
    except QueueFull:
        detail = "as many pictures are under way as may be; try again shortly"
        raise ServiceError(QUEUE_FULL, detail, headers={"Retry-After": "1"}) from None
    except TimeoutError:
        raise ServiceError(DEADLINE, f"no answer within {seconds:g} s; try again later") from None
    except (ClientGone, ClientDisconnect):
        # What proxies log for it; nobody is left to read it.
        return Response(status_code=499)


async def _answer(service: Service, data: bytes, point: OperatingPoint, began: float) -> Response:
    """From the bytes of a picture to the answer, which is kept as well."""
    decode_began = perf_counter()
    picture = await _decode(service, data)
    decode_seconds = perf_counter() - decode_began
    result = await _infer(service, picture)
    findings = describe(picture, result.answer, service.engine, point)
    id = secrets.token_hex(16)
    prediction = Prediction(
        **dict(findings),
        id=id,
        created_at=datetime.now(UTC),
        attention=_links(id, has_feature_attention=result.answer.spatial_attention is not None),
        timings_ms=Timings(
            decode=_milliseconds(decode_seconds),
            queue=_milliseconds(result.queue_seconds),
            inference=_milliseconds(result.inference_seconds),
            total=_milliseconds(perf_counter() - began),
        ),
    )
    record = Record(prediction.model_dump_json(), attention_maps(picture, result.answer))
    try:
        await service.in_worker(lambda: service.records.put(id, record))
    except RecordsError as error:
        raise ServiceError(NOT_READY, "the prediction could not be kept; try again later") from error
    service.metrics.observe_prediction(findings.diagnosis, result.answer, list(findings.probabilities))
    return Response(record.prediction, media_type="application/json")


async def _decode(service: Service, data: bytes) -> Picture:
    with service.metrics.timed("decode"):
        try:
            return await service.in_worker(lambda: service.engine.bundle.read_picture(data, service.limits))
        except PictureError as error:
            raise picture_problem(error) from error


async def _infer(service: Service, picture: Picture) -> Result:
    try:
        result = await service.batcher.submit(picture.frame)
    except Stopped:
        raise ServiceError(NOT_READY, "the service is shutting down; try again", headers={"Retry-After": "5"}) from None
    except Exception as error:  # whatever the engine raised; the batcher's listener has logged it
        service.require_ready()
        raise ServiceError(INTERNAL, "the network failed on this picture; it was logged") from error
    service.require_ready()  # an answer from a device that has failed meanwhile is worth nothing
    service.metrics.stages.labels("queue").observe(result.queue_seconds)
    service.metrics.stages.labels("inference").observe(result.inference_seconds)
    return result


def _operating_point(service: Service, name: str | None) -> OperatingPoint:
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


@router.get("/predictions/{id}", response_model=Prediction, responses=documented(NOT_FOUND, NOT_READY))
async def get_prediction(id: str, service: ServiceDep) -> Response:
    """The same answer again, until it expires or is deleted."""
    record = await find_record(service, id)
    return Response(record.prediction, media_type="application/json")


@router.delete("/predictions/{id}", status_code=204, responses=documented(NOT_FOUND, NOT_READY))
async def delete_prediction(id: str, service: ServiceDep) -> None:
    """Delete a prediction with everything kept of it."""
    if not (is_id(id) and await service.in_worker(lambda: service.records.delete(id))):
        raise unknown_prediction()
