"""``POST /predict/batch``: several pictures in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from service.access.keys import Caller
from service.api.answering import PointQuery, answer, chosen_point, give_up, queue_full
from service.api.callers import CallerDep, share
from service.api.dependencies import ClientGone, ServiceDep, unless_client_leaves
from service.api.upload import FIELD, UploadLimits, read_uploads
from service.bundle import OperatingPoint
from service.inference.batching import QueueFull
from service.prediction.schemas import BatchAnswer, BatchAnswers
from service.problems import (
    DEADLINE,
    MALFORMED,
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

_FORM = {
    "type": "object",
    "required": [FIELD],
    "properties": {FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
    "additionalProperties": False,
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_ERRORS = (MALFORMED, REQUEST_TIMEOUT, TOO_LARGE, UNSUPPORTED_TYPE, QUEUE_FULL, RATE_LIMITED, NOT_READY, DEADLINE)


@router.post("/predict/batch", response_model=BatchAnswers, responses=documented(*_ERRORS), openapi_extra=_BODY)
async def predict_batch(
    request: Request, service: ServiceDep, caller: CallerDep, operating_point: PointQuery = None
) -> Response:
    """Diagnose several dermoscopy pictures: a multipart form with the field `image` once for each.

    The answers come in the order of the pictures: each a prediction, or the problem with that picture.
    """
    began = perf_counter()
    service.require_ready()
    point = chosen_point(service, operating_point)
    most = min(service.settings.batch_pictures, service.settings.queue_size)
    ends = asyncio.get_running_loop().time() + service.settings.deadline_seconds
    try:
        service.batcher.require_place()
        with share(service, caller, most) as keep, service.uploads.room() as take:
            limits = UploadLimits(service.limits.max_bytes, ends, take)
            pictures = await read_uploads(request, limits, max_files=most)
            keep(len(pictures))
            with service.batcher.places(len(pictures)):
                answers = await unless_client_leaves(
                    request, _answer_all(service, caller, pictures, point, began, ends)
                )
    except QueueFull:
        raise queue_full() from None
    except (ClientGone, ClientDisconnect):
        return Response(status_code=499)
    service.require_ready()  # the first ones may have been answered before trust was lost
    return Response(BatchAnswers(answers=answers).model_dump_json(), media_type="application/json")


async def _answer_all(
    service: Service, caller: Caller, pictures: Sequence[bytes], point: OperatingPoint, began: float, ends: float
) -> list[BatchAnswer]:
    answers: list[BatchAnswer | None] = [None] * len(pictures)

    async def answer_one(number: int, data: bytes) -> None:
        answers[number] = await _answer_one(service, caller, data, point, began, ends)

    try:
        async with asyncio.TaskGroup() as group:
            for number, data in enumerate(pictures):
                group.create_task(answer_one(number, data))
    except BaseException:  # nobody gets those either that were ready
        for ready in answers:
            if ready is not None and ready.prediction is not None:
                give_up(service, caller, ready.prediction)
        raise
    return [answer for answer in answers if answer is not None]


async def _answer_one(
    service: Service, caller: Caller, data: bytes, point: OperatingPoint, began: float, ends: float
) -> BatchAnswer:
    try:
        async with asyncio.timeout_at(ends):
            return BatchAnswer(prediction=await answer(service, caller, data, point, began), problem=None)
    except TimeoutError:
        detail = "no answer in the time that the whole request has; send this picture again"
        return BatchAnswer(prediction=None, problem=ServiceError(DEADLINE, detail).body())
    except ServiceError as error:
        return BatchAnswer(prediction=None, problem=error.body())
