"""``POST /v1/predictions``, ``POST /predict``, and the predictions they leave."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from time import perf_counter
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from starlette.requests import ClientDisconnect

from service.access.keys import Caller
from service.api import dicom_answer
from service.api.answering import DOCUMENTED, DOCUMENTED_NEW, VARY, Form, FormDep, NewFormDep, respond
from service.api.dependencies import (
    CallerDep,
    ClientGone,
    KeptRecord,
    PointDep,
    PointQuery,
    ServiceDep,
    alias,
    find_record,
    is_id,
    note_access,
    point_called,
    require_live_key,
    require_same_model,
    unknown_prediction,
    unless_client_leaves,
)
from service.api.dicom_answer import Made
from service.api.error_handlers import outcome_of
from service.api.following import FollowUpDep
from service.api.upload import FIELD, UploadLimits, read_upload
from service.audit.file import AuditError
from service.bundle import OperatingPoint
from service.fhir.study import Study
from service.ledger.entries import FollowUp
from service.ledger.file import LedgerError
from service.prediction.predictor import Result
from service.prediction.schemas import Prediction, read_prediction
from service.prediction.views import at_point
from service.problems import (
    CONFLICT,
    DEADLINE,
    INSUFFICIENT_STORAGE,
    MALFORMED,
    NO_LEDGER,
    NOT_ACCEPTABLE,
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
from service.runtime import Service
from service.storage.store import DamagedRecord, RecordsError

router = APIRouter(tags=["predictions"])

_PICTURE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _PICTURE}, "additionalProperties": False}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            # Bodies of image/* as well, which generators of clients do not know.
            "application/octet-stream": {"schema": _PICTURE},
            "application/dicom": {"schema": _PICTURE},
        },
    }
}
_ERRORS = (
    MALFORMED,
    NOT_ACCEPTABLE,
    REQUEST_TIMEOUT,
    CONFLICT,
    NO_LEDGER,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    UNDECODABLE,
    QUEUE_FULL,
    RATE_LIMITED,
    NOT_READY,
    DEADLINE,
    INSUFFICIENT_STORAGE,
)
_READ_ERRORS = documented(MALFORMED, NOT_ACCEPTABLE, NOT_FOUND, CONFLICT, NOT_READY)
_LOCATION = {"description": "the prediction's address", "schema": {"type": "string"}}
_CREATED = DOCUMENTED_NEW | {"headers": {"Location": _LOCATION, **DOCUMENTED["headers"]}}

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        pattern=r"^[!-~]+$",
        description="the client's own, such as a UUID. A request sent again with the same key, image and operating "
        "point gets the first one's prediction, for as long as it is kept",
    ),
]


@router.post(
    "/predict",
    response_model=Prediction,
    responses={200: _CREATED, **documented(*_ERRORS)},
    openapi_extra=_BODY,
)
@router.post(
    "/v1/predictions",
    status_code=201,
    name="create_prediction",
    response_model=Prediction,
    responses={201: _CREATED, **documented(*_ERRORS)},
    openapi_extra=_BODY,
)
async def predict(
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
    point: PointDep,
    form: NewFormDep,
    follow_up: FollowUpDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Judge one dermoscopy image: multipart field `image`, or the image itself as a body of type `image/*`,
    `application/dicom` or `application/octet-stream`.

    JPEG, PNG, WebP, single-page TIFF, BMP, AVIF or, where the service was installed with it, DICOM of one frame,
    recognised by content. The uploaded bytes are not kept.
    """
    began, settings = perf_counter(), service.settings
    seconds = settings.deadline_seconds
    ends = asyncio.get_running_loop().time() + seconds
    try:
        with service.admission.enter(caller.counted_as) as entry:
            data = await read_upload(request, UploadLimits(settings.max_upload_bytes, ends, entry.add_bytes))
            await require_live_key(request, service)
            id = None
            if idempotency_key is not None:
                asked = [caller.name, idempotency_key, point.name, service.scheduler.bundle.sha256]
                asked += [] if follow_up is None else [follow_up.lesion, str(follow_up.visit)]
                id = await asyncio.to_thread(service.idempotency.id_of, data, *asked)
            with service.idempotency.under_way(id) if id else nullcontext():
                again = await _earlier(service, caller, id) if id else None
                if again is not None:
                    extra = None
                    if form.takes_from(data):
                        async with asyncio.timeout_at(ends):
                            entry.take_slots()
                            extra = await unless_client_leaves(request, _again(service, data, caller, form, again))
                    await require_live_key(request, service)
                    return _created(request, service, again.prediction, form, extra=extra)
                async with asyncio.timeout_at(ends):
                    entry.take_slots()
                    judging = _judge(service, data, caller, point, form, follow_up, began=began, id=id)
                    result, extra = await unless_client_leaves(request, judging)
    except TimeoutError:
        raise ServiceError(DEADLINE, f"no answer within {seconds:g} s; try again later") from None
    except (ClientGone, ClientDisconnect):
        return Response(status_code=499)  # what proxies log for it
    try:
        await require_live_key(request, service)
    except ServiceError:
        await service.predictor.take_back(result, caller)
        raise
    return _created(request, service, result.prediction, form, result.json, extra)


@alias(
    router.get,
    "/v1/predictions/{id}",
    "/predictions/{id}",
    response_model=Prediction,
    responses={200: DOCUMENTED, **_READ_ERRORS},
)
async def get_prediction(
    id: str,
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
    form: FormDep,
    operating_point: PointQuery = None,
) -> Response:
    """The answer again, until it expires or is deleted; also at another operating point or prevalence."""
    point = None if operating_point is None else point_called(service, operating_point)
    record = await find_record(service, caller, id, what="prediction-read")
    prediction = record.prediction
    await require_live_key(request, service)
    if point is not None or form.view.prevalence is not None:
        require_same_model(service, prediction)
        if point is not None:
            prediction = at_point(prediction, service.scheduler.bundle.manifest, point)
    return respond(service, prediction, form)


@alias(
    router.delete,
    "/v1/predictions/{id}",
    "/predictions/{id}",
    status_code=204,
    responses=documented(NOT_FOUND, NOT_READY),
)
async def delete_prediction(id: str, service: ServiceDep, caller: CallerDep) -> None:
    """Delete a prediction with everything kept of it, in the ledger too."""
    if not is_id(id):
        await note_access(service, caller, "prediction-delete", id, "not-found")
        raise unknown_prediction()
    # Before anything is gone: nothing is deleted while that cannot be written down.
    await note_access(service, caller, "prediction-delete", id, "requested")
    try:
        deleted = any([await service.records.delete(id, owner) for owner in caller.owners])
        erased = await service.ledger.erase(lambda file: file.erase(caller.client, id=id))
    except (RecordsError, LedgerError) as error:
        service.audit.note("prediction-delete", by=caller.name, id=id, outcome=outcome_of(error))
        raise
    if deleted:
        service.overlays.forget(id)
    with suppress(AuditError):  # that it was asked for is written down, and it cannot be undone
        noted = {"ledger": str(erased)} if erased else {}
        outcome = "done" if deleted or erased else "not-found"
        await note_access(service, caller, "prediction-delete", id, outcome, **noted)
    if not deleted and not erased:
        raise unknown_prediction()


async def _judge(
    service: Service,
    data: bytes,
    caller: Caller,
    point: OperatingPoint,
    form: Form,
    follow_up: FollowUp | None,
    *,
    began: float,
    id: str | None,
) -> tuple[Result, Made | Study | None]:
    """The prediction for one image, and what the answer takes from its DICOM file; both or neither."""
    source = await dicom_answer.source_of(service, caller, data) if form.objects else None
    study = await dicom_answer.study_of(service, caller, data) if form.fhir else None
    result = await service.predictor.predict(data, caller, point, began=began, id=id, follow_up=follow_up)
    if form.objects is None or source is None:
        return result, study
    try:
        made = await dicom_answer.make(service, caller, form.objects, source, result.prediction, result, form.view)
    except BaseException as error:
        deleted = service.predictor.take_back(result, caller)
        if not isinstance(error, asyncio.CancelledError):  # a client that waits gets its error when nothing is kept
            await deleted
        raise
    return result, made


async def _again(service: Service, data: bytes, caller: Caller, form: Form, kept: KeptRecord) -> Made | Study | None:
    """What the answer takes from a file that was judged earlier, and came again with its ``Idempotency-Key``."""
    if form.objects is None:
        return await dicom_answer.study_of(service, caller, data)
    source = await dicom_answer.source_of(service, caller, data)
    return await dicom_answer.make(service, caller, form.objects, source, kept.prediction, kept.stored, form.view)


async def _earlier(service: Service, caller: Caller, id: str) -> KeptRecord | None:
    """The record that the same request left earlier. Raises the 503 of a service that can no longer be trusted."""
    try:
        stored = await service.records.get(id, caller.name)
        kept = None if stored is None else KeptRecord(read_prediction(stored.prediction, id), stored)
    except (DamagedRecord, ValueError):
        await service.records.delete(id, caller.name)  # it would keep the id
        return None
    if kept is not None:
        await note_access(service, caller, "prediction-read", id, "done")
        service.health.require_ready()  # trust may have been lost during the upload
    return kept


def _created(
    request: Request,
    service: Service,
    prediction: Prediction,
    form: Form,
    serialised: str | None = None,
    extra: Made | Study | None = None,
) -> Response:
    status = request.scope["route"].status_code or 200
    headers = {"Location": f"/v1/predictions/{prediction.id}"}
    if isinstance(extra, Made):
        return Response(extra.content, status, VARY | headers, media_type=extra.media_type)
    return respond(service, prediction, form, status=status, headers=headers, serialised=serialised, study=extra)
