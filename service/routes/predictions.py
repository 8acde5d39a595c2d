"""``POST /predict`` and the predictions it leaves."""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile

from service.batching import QueueFull
from service.bundle import BundleError, OperatingPoint
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
from service.imaging import PictureError, read_picture
from service.records import Record
from service.routes.dependencies import (
    ClientGone,
    ServiceDep,
    find_record,
    in_worker,
    is_id,
    unknown_prediction,
    unless_client_leaves,
)
from service.schemas import AttentionLinks, Prediction, Timings

log = logging.getLogger(__name__)
router = APIRouter(tags=["predictions"])

_PICTURE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["image"], "properties": {"image": _PICTURE}}
            },
            **{f"image/{name}": {"schema": _PICTURE} for name in ("jpeg", "png", "webp", "tiff")},
        },
    }
}
_ERRORS = (MALFORMED, TOO_LARGE, UNSUPPORTED_TYPE, UNDECODABLE, QUEUE_FULL, INTERNAL, NOT_READY, DEADLINE)


@router.post("/predict", response_model=Prediction, responses=documented(*_ERRORS), openapi_extra=_BODY)
async def predict(request: Request, service: ServiceDep, operating_point: str | None = None) -> Any:
    """Diagnose one dermoscopy picture: multipart field `image`, or the picture itself as an `image/*` body."""
    began = perf_counter()
    service.require_ready()
    point = _operating_point(service, operating_point)
    data = await _read_upload(request)
    try:
        async with asyncio.timeout(service.settings.deadline_seconds):
            return await unless_client_leaves(request, _predict(service, data, point, began))
    except TimeoutError:
        raise ServiceError(DEADLINE, f"no answer within {service.settings.deadline_seconds:g} s; try again") from None
    except ClientGone:
        # 499 is what proxies log for it; no one is left to read it.
        return Response(status_code=499)


async def _predict(service: Any, data: bytes, point: OperatingPoint, began: float) -> Response:
    with service.metrics.timed("decode"):
        decode_began = perf_counter()
        size = service.engine.bundle.manifest.frame_size
        try:
            picture = await in_worker(service, lambda: read_picture(data, size, service.limits))
        except PictureError as error:
            raise picture_problem(error) from error
        decode_seconds = perf_counter() - decode_began
    try:
        result = await service.batcher.submit(picture.frame)
    except QueueFull:
        detail = "as many pictures are waiting as may wait; try again shortly"
        raise ServiceError(QUEUE_FULL, detail, headers={"Retry-After": "1"}) from None
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        raise ServiceError(NOT_READY, "the service is shutting down; try again", headers={"Retry-After": "5"}) from None
    except Exception as error:
        raise ServiceError(INTERNAL, "the network failed on this picture; the error was logged") from error
    service.metrics.stages.labels("queue").observe(result.queue_seconds)
    service.metrics.stages.labels("inference").observe(result.inference_seconds)
    id = secrets.token_hex(16)
    findings = describe(picture, result.answer, service.engine, point)
    has_features = result.answer.spatial_attention is not None
    prediction = Prediction(
        **dict(findings),
        id=id,
        created_at=datetime.now(UTC),
        attention=AttentionLinks(
            lesion=f"/attention/{id}?map=lesion",
            spatial=f"/attention/{id}?map=spatial" if has_features else None,
            correlation=f"/attention/{id}?map=correlation" if has_features else None,
        ),
        timings_ms=Timings(
            decode=round(decode_seconds * 1e3, 3),
            queue=round(result.queue_seconds * 1e3, 3),
            inference=round(result.inference_seconds * 1e3, 3),
            total=round((perf_counter() - began) * 1e3, 3),
        ),
    )
    body = prediction.model_dump_json()
    await in_worker(service, lambda: service.records.put(id, Record(body, attention_maps(picture, result.answer))))
    service.metrics.observe_prediction(findings.diagnosis, result.answer, list(findings.probabilities))
    return Response(body, media_type="application/json")


def _operating_point(service: Any, name: str | None) -> OperatingPoint:
    if name is None:
        point: OperatingPoint = service.operating_point
        return point
    try:
        return service.engine.bundle.manifest.operating_point(name)  # type: ignore[no-any-return]
    except BundleError as error:
        raise ServiceError(MALFORMED, str(error)) from error


async def _read_upload(request: Request) -> bytes:
    """The picture's bytes, from either kind of body. The app's limit on bodies applies while reading."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=8) as form:
            upload = form.get("image")
            if not isinstance(upload, UploadFile):
                raise ServiceError(MALFORMED, "the form has no file field named image")
            return await upload.read()
    if kind.startswith("image/"):
        return await request.body()
    raise ServiceError(UNSUPPORTED_TYPE, "send a multipart form with the field image, or an image/* body")


@router.get("/predictions/{id}", response_model=Prediction, responses=documented(NOT_FOUND))
async def get_prediction(id: str, service: ServiceDep) -> Any:
    """The same answer again, until it expires or is deleted."""
    record = await find_record(service, id)
    return Response(record.prediction, media_type="application/json")


@router.delete("/predictions/{id}", status_code=204, responses=documented(NOT_FOUND))
async def delete_prediction(id: str, service: ServiceDep) -> None:
    """Delete a prediction with everything kept of it."""
    if not (is_id(id) and await in_worker(service, lambda: service.records.delete(id))):
        raise unknown_prediction()
