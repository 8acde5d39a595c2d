"""``POST /v1/predictions/batch``: several images in one request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from time import perf_counter

from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from service.access.keys import Caller
from service.api.answering import require_json
from service.api.dependencies import (
    CallerDep,
    ClientGone,
    PointDep,
    ServiceDep,
    ViewDep,
    alias,
    require_live_key,
    shown,
    unless_client_leaves,
)
from service.api.error_handlers import EXPECTED, problem_of
from service.api.following import follow_ups
from service.api.upload import FIELD, LESION, REFERENCE, REFERENCE_LENGTH, VISIT, UploadLimits, read_uploads
from service.bundle import OperatingPoint
from service.ledger.entries import LABEL, LABEL_LENGTH, FollowUp
from service.prediction.predictor import Predictor, Result
from service.prediction.schemas import BatchAnswers
from service.prediction.views import View
from service.problems import (
    DEADLINE,
    MALFORMED,
    NO_LEDGER,
    NOT_ACCEPTABLE,
    NOT_READY,
    QUEUE_FULL,
    RATE_LIMITED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    ServiceError,
    documented,
)
from service.runtime import Service

router = APIRouter(tags=["predictions"])

FORM = {
    "type": "object",
    "required": [FIELD],
    "properties": {
        FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
        REFERENCE: {"type": "array", "items": {"type": "string", "maxLength": REFERENCE_LENGTH}},
        LESION: {"type": "array", "items": {"type": "string", "pattern": f"^$|{LABEL}", "maxLength": LABEL_LENGTH}},
        VISIT: {"type": "array", "items": {"type": "string", "pattern": r"^$|^\d{4}-\d{2}-\d{2}$"}},  # a date or empty
    },
    "additionalProperties": False,
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}
_ERRORS = (
    MALFORMED,
    NOT_ACCEPTABLE,
    REQUEST_TIMEOUT,
    NO_LEDGER,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    QUEUE_FULL,
    RATE_LIMITED,
    NOT_READY,
    DEADLINE,
)


@alias(
    router.post,
    "/v1/predictions/batch",
    "/predict/batch",
    response_model=BatchAnswers,
    dependencies=[Depends(require_json)],
    responses=documented(*_ERRORS),
    openapi_extra=_BODY,
)
async def create_predictions(
    request: Request, service: ServiceDep, caller: CallerDep, point: PointDep, view: ViewDep
) -> Response:
    """Judge several dermoscopy images: a multipart form with the field `image` once for each, and none or as many
    fields `reference`, which come back with the answers; `lesion`, empty where an image has none; and `visit`.

    The answers come in the order of the images: each a prediction, or the problem with that image.
    """
    began, settings = perf_counter(), service.settings
    most = min(settings.batch_pictures, settings.queue_size)
    ends = asyncio.get_running_loop().time() + settings.deadline_seconds
    try:
        with service.admission.enter(caller.counted_as, most) as entry:
            limits = UploadLimits(settings.max_upload_bytes, ends, entry.add_bytes)
            pictures, texts = await read_uploads(request, limits, max_files=most)
            followed = follow_ups(service, len(pictures), texts.get(LESION), texts.get(VISIT))
            await require_live_key(request, service)
            entry.take_slots(len(pictures))
            work = predict_all(service.predictor, pictures, caller, point, followed, began=began, ends=ends)
            outcomes = await unless_client_leaves(request, work)
    except (ClientGone, ClientDisconnect):
        return Response(status_code=499)
    service.health.require_ready()  # trust may be lost after the first answers
    try:
        await require_live_key(request, service)
    except ServiceError:
        await _take_back(service.predictor, outcomes, caller)
        raise
    body = _to_json(service, outcomes, texts.get(REFERENCE) or [None] * len(outcomes), view)
    return Response(body, media_type="application/json")


async def predict_all(
    predictor: Predictor,
    pictures: Sequence[bytes],
    caller: Caller,
    point: OperatingPoint,
    followed: Sequence[FollowUp | None],
    *,
    began: float,
    ends: float,
) -> list[Result | ServiceError]:
    """The outcome of each image by ``ends``, in the event loop's time. When cancelled, none of them is kept."""

    async def predict_one(data: bytes, follow_up: FollowUp | None) -> Result | ServiceError:
        try:
            async with asyncio.timeout_at(ends):
                return await predictor.predict(data, caller, point, began=began, follow_up=follow_up)
        except TimeoutError:
            detail = "no answer in the time that the whole request has; send this image again"
            return ServiceError(DEADLINE, detail)
        except EXPECTED as error:
            return problem_of(error)

    tasks: list[asyncio.Task[Result | ServiceError]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(predict_one(*each)) for each in zip(pictures, followed, strict=True)]
    except BaseException:
        done = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
        _take_back(predictor, done, caller)
        raise
    return [task.result() for task in tasks]


def _take_back(
    predictor: Predictor, outcomes: Sequence[Result | ServiceError], caller: Caller
) -> asyncio.Future[list[tuple[None, None]]]:
    return asyncio.gather(*[predictor.take_back(each, caller) for each in outcomes if isinstance(each, Result)])


def _to_json(
    service: Service, outcomes: Sequence[Result | ServiceError], references: Sequence[str | None], view: View
) -> str:
    """The body of a :class:`BatchAnswers`, from predictions that are serialised already."""
    answers = (
        f'{{"reference":{json.dumps(reference)},"prediction":{shown(service, outcome.prediction, view, outcome.json)},'
        '"problem":null}'
        if isinstance(outcome, Result)
        else f'{{"reference":{json.dumps(reference)},"prediction":null,"problem":{outcome.body().model_dump_json()}}}'
        for outcome, reference in zip(outcomes, references, strict=True)
    )
    return f'{{"answers":[{",".join(answers)}]}}'
