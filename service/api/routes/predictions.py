"""``POST /predict`` and the predictions it leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from service.api.dependencies import (
    CallerDep,
    ClientGone,
    PointDep,
    ServiceDep,
    find_record,
    is_id,
    note_access,
    require_live_key,
    unknown_prediction,
    unless_client_leaves,
)
from service.api.error_handlers import outcome_of
from service.api.upload import FIELD, UploadLimits, read_upload
from service.audit.file import AuditError
from service.prediction.schemas import Prediction
from service.problems import (
    DEADLINE,
    INSUFFICIENT_STORAGE,
    MALFORMED,
    NOT_FOUND,
    NOT_READY,
    QUEUE_FULL,
    RATE_LIMITED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNDECODABLE,
    UNSUPPORTED_TYPE,
    ServiceError,
    documented,
)
from service.storage.store import RecordsError

router = APIRouter(tags=["predictions"])

_PICTURE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _PICTURE}, "additionalProperties": False}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **{f"image/{name}": {"schema": _PICTURE} for name in ("jpeg", "png", "webp", "tiff", "bmp")},
        },
    }
}
_ERRORS = (
    MALFORMED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    UNDECODABLE,
    QUEUE_FULL,
    RATE_LIMITED,
    NOT_READY,
    DEADLINE,
    INSUFFICIENT_STORAGE,
)


@router.post("/predict", response_model=Prediction, responses=documented(*_ERRORS), openapi_extra=_BODY)
async def predict(request: Request, service: ServiceDep, caller: CallerDep, point: PointDep) -> Response:
    """Diagnose one dermoscopy picture: multipart field `image`, or the picture itself as an `image/*` body.

    JPEG, PNG, WebP, single-page TIFF or BMP, recognised by content. The uploaded bytes are not kept.
    """
    began, settings = perf_counter(), service.settings
    seconds = settings.deadline_seconds
    ends = asyncio.get_running_loop().time() + seconds
    try:
        with service.admission.enter(caller.counted_as) as entry:
            data = await read_upload(request, UploadLimits(settings.max_upload_bytes, ends, entry.add_bytes))
            await require_live_key(request, service)
            async with asyncio.timeout_at(ends):
                entry.take_slots()
                work = service.predictor.predict(data, caller, point, began=began)
                result = await unless_client_leaves(request, work)
    except TimeoutError:
        raise ServiceError(DEADLINE, f"no answer within {seconds:g} s; try again later") from None
    except (ClientGone, ClientDisconnect):
        return Response(status_code=499)  # what proxies log for it
    try:
        await require_live_key(request, service)
    except ServiceError:
        service.predictor.take_back(result, caller)
        raise
    return Response(result.json, media_type="application/json")


@router.get("/predictions/{id}", response_model=Prediction, responses=documented(NOT_FOUND, NOT_READY))
async def get_prediction(id: str, request: Request, service: ServiceDep, caller: CallerDep) -> Response:
    """The same answer again, until it expires or is deleted."""
    record = await find_record(service, caller, id, what="prediction-read")
    await require_live_key(request, service)
    return Response(record.prediction, media_type="application/json")


@router.delete("/predictions/{id}", status_code=204, responses=documented(NOT_FOUND, NOT_READY))
async def delete_prediction(id: str, service: ServiceDep, caller: CallerDep) -> None:
    """Delete a prediction with everything kept of it."""
    if not is_id(id):
        await note_access(service, caller, "prediction-delete", id, "not-found")
        raise unknown_prediction()
    # Before anything is gone: nothing is deleted while that cannot be written down.
    await note_access(service, caller, "prediction-delete", id, "requested")
    try:
        deleted = any([await service.records.delete(id, owner) for owner in caller.owners])
    except RecordsError as error:
        service.audit.note("prediction-delete", by=caller.name, id=id, outcome=outcome_of(error))
        raise
    if deleted:
        service.overlays.forget(id)
    with suppress(AuditError):  # that it was asked for is written down, and it cannot be undone
        await note_access(service, caller, "prediction-delete", id, "done" if deleted else "not-found")
    if not deleted:
        raise unknown_prediction()
