"""Over time: feedback on predictions, lesions over their visits, what waits for a clinician, and recalls."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.access.keys import Caller
from service.api.answering import JSON, VARY, media_type_for
from service.api.dependencies import CallerDep, ServiceDep, is_id, note_access, require_live_key, unknown_prediction
from service.api.error_handlers import outcome_of
from service.api.feedback import FeedbackReceipt, FeedbackRequest, entry_of, receipt_of
from service.api.following import with_ledger
from service.api.upload import read_json
from service.audit.chain import Head
from service.audit.file import AuditError
from service.ledger.entries import Answer, Label
from service.ledger.file import LedgerError, NoSuchAnswer
from service.ledger.tables import to_calendar, to_csv
from service.ledger.timeline import Timeline, timeline
from service.ledger.worklist import Lesions, Recall, Recalls, WorkItem, Worklist, lesions, recalls, worklist
from service.problems import (
    INSUFFICIENT_STORAGE,
    MALFORMED,
    NO_LEDGER,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    NOT_READY,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    ServiceError,
    documented,
)
from service.runtime import Service
from service.storage.store import RecordsError

router = APIRouter(tags=["follow-up"], dependencies=[Depends(with_ledger)])

CSV, CALENDAR = "text/csv", "text/calendar"
_UTF8 = {"charset": "utf-8"}
_OFFERED = {JSON: _UTF8, CSV: {**_UTF8, "header": "present"}}
_OFFERED_RECALLS = {**_OFFERED, CALENDAR: _UTF8}

LesionPath = Annotated[Label, Path(description="the lesion's label")]
_FEEDBACK = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/FeedbackRequest"}}},
    }
}


def _documented_as(*kinds: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string"}} for kind in kinds}
    return {200: {"content": content, "headers": {"Vary": {"description": "`Accept`", "schema": {"type": "string"}}}}}


@router.post(
    "/v1/predictions/{id}/feedback",
    status_code=201,
    response_model=FeedbackReceipt,
    responses=documented(MALFORMED, NOT_FOUND, REQUEST_TIMEOUT, NO_LEDGER, TOO_LARGE, NOT_READY, INSUFFICIENT_STORAGE),
    openapi_extra=_FEEDBACK,
)
async def create_feedback(id: str, request: Request, service: ServiceDep, caller: CallerDep) -> FeedbackReceipt:
    """Say what became of a prediction: whether the clinician agrees, what the diagnosis is, what histology found.

    The ledger keeps it, also when the prediction has expired. Nothing is changed or removed: the last word counts.
    """
    ends = asyncio.get_running_loop().time() + service.settings.deadline_seconds
    said = await read_json(request, FeedbackRequest, ends)
    await require_live_key(request, service)
    try:
        answer = await _answer(service, caller, id)
        entry = entry_of(said, caller, id, service.scheduler.bundle.manifest)
        head = await service.ledger.add(entry)
    except NoSuchAnswer:
        await note_access(service, caller, "feedback", id, "not-found")
        raise unknown_prediction() from None
    noted = {"by": caller.name, "id": id, "ledger": str(head)}
    try:
        await service.audit.record("feedback", **noted, outcome="done")
    except BaseException as error:
        withdrawn = service.ledger.withdraw(head)
        service.audit.note("feedback", **noted, outcome=outcome_of(error))
        if not isinstance(error, asyncio.CancelledError):
            await withdrawn
        raise
    service.metrics.observe_feedback(answer.refer, entry)
    return receipt_of(entry)


async def _answer(service: Service, caller: Caller, id: str) -> Answer:
    """The caller's answer called ``id``. Raises :class:`NoSuchAnswer`."""
    entries = await service.ledger.read(lambda file: file.of_prediction(caller.client, id)) if is_id(id) else []
    answers = [entry for entry in entries if isinstance(entry, Answer)]
    if not answers:
        raise NoSuchAnswer("there is no such answer")
    return answers[-1]


@router.get("/v1/lesions", responses=documented(NO_LEDGER, NOT_READY))
async def list_lesions(request: Request, service: ServiceDep, caller: CallerDep) -> Lesions:
    """The lesions that have labels, each with its visits."""
    entries = await service.ledger.read(lambda file: file.of_client(caller.client))
    await _note_look(service, caller, request, "lesions-read")
    return lesions(entries)


@router.get("/v1/lesions/{lesion}", responses=documented(MALFORMED, NOT_FOUND, NO_LEDGER, NOT_READY))
async def get_lesion(lesion: LesionPath, request: Request, service: ServiceDep, caller: CallerDep) -> Timeline:
    """A lesion over its visits: the average of each visit, and every change beside the model's measured repeatability.

    A change below the repeatability's 95th percentile is none. Sizes are in mm, and only where the scale is known.
    """
    entries = await service.ledger.read(lambda file: file.of_lesion(caller.client, lesion))
    outcome = {"outcome": "done" if entries else "not-found"}
    await _note_look(service, caller, request, "lesion-read", lesion=_digest(caller, lesion), **outcome)
    if not entries:
        raise _unknown_lesion()
    return timeline(lesion, entries)


@router.delete(
    "/v1/lesions/{lesion}", status_code=204, responses=documented(MALFORMED, NOT_FOUND, NO_LEDGER, NOT_READY)
)
async def delete_lesion(lesion: LesionPath, service: ServiceDep, caller: CallerDep) -> None:
    """Delete a lesion: its answers and all feedback in the ledger, and its predictions where they are still kept.

    The audit log stays; it knows the label by a digest alone.
    """
    noted = {"by": caller.name, "lesion": _digest(caller, lesion)}
    # Before anything is gone: nothing is deleted while that cannot be written down.
    await service.audit.record("lesion-delete", **noted, outcome="requested")
    try:
        entries = await service.ledger.read(lambda file: file.of_lesion(caller.client, lesion))
        for id in {entry.id for entry in entries}:
            for owner in caller.owners:
                await service.records.delete(id, owner)
            service.overlays.forget(id)
        head = await service.ledger.erase(lambda file: file.erase_lesion(caller.client, lesion))
    except (LedgerError, RecordsError) as error:
        service.audit.note("lesion-delete", **noted, outcome=outcome_of(error))
        raise
    with suppress(AuditError):  # that it was asked for is written down, and it cannot be undone
        await service.audit.record("lesion-delete", **noted, **_erased(head))
    if head is None:
        raise _unknown_lesion()


@router.get(
    "/v1/worklist",
    response_model=Worklist,
    responses={**_documented_as(CSV), **documented(NOT_ACCEPTABLE, NO_LEDGER, NOT_READY)},
)
async def get_worklist(request: Request, service: ServiceDep, caller: CallerDep) -> Response:
    """What was referred or not assessed, and has no clinician's answer: as JSON, or as CSV (`Accept: text/csv`)."""
    kind = media_type_for(request, _OFFERED, "a worklist is sent as")
    entries = await service.ledger.read(lambda file: file.of_client(caller.client))
    await _note_look(service, caller, request, "worklist-read")
    found = worklist(entries)
    if kind == JSON:
        return Response(found.model_dump_json(), headers=VARY, media_type=JSON)
    return _file(to_csv(WorkItem, found.items), kind, "worklist.csv")


@router.get(
    "/v1/recalls",
    response_model=Recalls,
    responses={**_documented_as(CSV, CALENDAR), **documented(MALFORMED, NOT_ACCEPTABLE, NO_LEDGER, NOT_READY)},
)
async def get_recalls(
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
    only_due: Annotated[bool, Query(description="without those of later dates")] = False,
) -> Response:
    """When lesions are due again, 3, 6 and 12 months after their last visit: as JSON, CSV or a calendar
    (`Accept: text/calendar`)."""
    kind = media_type_for(request, _OFFERED_RECALLS, "recalls are sent as")
    entries = await service.ledger.read(lambda file: file.of_client(caller.client))
    await _note_look(service, caller, request, "recalls-read")
    now = datetime.now(UTC)
    found = recalls(entries, now.date())
    items = [item for item in found.items if item.is_due or not only_due]
    if kind == JSON:
        return Response(Recalls(items=items).model_dump_json(), headers=VARY, media_type=JSON)
    if kind == CSV:
        return _file(to_csv(Recall, items), kind, "recalls.csv")
    return _file(to_calendar(items, caller.client, now), kind, "recalls.ics")


async def _note_look(service: Service, caller: Caller, request: Request, what: str, **details: str) -> None:
    """Write a look at the ledger to the audit log; a key that was revoked meanwhile gets nothing."""
    await service.audit.record(what, by=caller.name, **({"outcome": "done"} | details))
    await require_live_key(request, service)


def _erased(head: Head | None) -> dict[str, str]:
    return {"outcome": "not-found"} if head is None else {"ledger": str(head), "outcome": "done"}


def _digest(caller: Caller, lesion: str) -> str:
    """What the audit log calls a lesion: it keeps no label, which is the client's own text."""
    return hashlib.sha256(f"{caller.client}\0{lesion}".encode()).hexdigest()[:32]


def _file(content: str, kind: str, name: str) -> Response:
    headers = VARY | {"Content-Disposition": f'attachment; filename="{name}"'}
    parameters = "; charset=utf-8; header=present" if kind == CSV else "; charset=utf-8"
    return Response(content, headers=headers, media_type=f"{kind}{parameters}")


def _unknown_lesion() -> ServiceError:
    return ServiceError(NOT_FOUND, "no such lesion; it has no images, or was deleted. GET /v1/lesions names them all")
