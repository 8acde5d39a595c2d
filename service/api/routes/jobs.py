"""``/v1/jobs``: many images in one request, answered one after another when there is time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from service.access.keys import Caller
from service.api.answering import JSON, require_json
from service.api.dependencies import (
    CallerDep,
    PointDep,
    ServiceDep,
    ViewDep,
    is_id,
    require_live_key,
    require_same_model,
)
from service.api.error_handlers import outcome_of
from service.api.following import follow_ups
from service.api.routes.batches import FORM
from service.api.upload import LESION, REFERENCE, VISIT, UploadLimits, media_type_of, read_json, read_uploads
from service.audit.file import AuditError
from service.jobs.dicomweb import JobRequest
from service.jobs.job import Item, Job, JobResult, JobResults, JobStatus, NewJob
from service.jobs.servers import require_server
from service.jobs.store import JobStore
from service.jobs.webhook_rules import WebhookError, require_allowed
from service.prediction.views import View, show
from service.problems import (
    CONFLICT,
    JOBS_FULL,
    MALFORMED,
    NO_JOBS,
    NO_LEDGER,
    NOT_ACCEPTABLE,
    NOT_FOUND,
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

router = APIRouter(tags=["jobs"])

_MOST_RESULTS = 200
# Deletions of kept predictions at once.
_AT_ONCE = 32

_QUERY = {"schema": {"$ref": "#/components/schemas/JobRequest"}}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}, JSON: _QUERY}}}
_LOCATION = {"description": "the job's address", "schema": {"type": "string"}}
_CREATED: dict[int | str, Any] = {202: {"headers": {"Location": _LOCATION}}}
_ERRORS = (
    *(MALFORMED, NOT_ACCEPTABLE, REQUEST_TIMEOUT, NO_JOBS, NO_LEDGER, TOO_LARGE, UNSUPPORTED_TYPE),
    *(QUEUE_FULL, RATE_LIMITED, JOBS_FULL, NOT_READY),
)


async def get_jobs(service: ServiceDep) -> JobStore:
    """Where jobs are kept. Raises the 409 of a service without."""
    if service.jobs is None:
        detail = "this service takes no jobs; set CIN_JOBS_URL to a Redis for them, or send images to /v1/predictions"
        raise ServiceError(NO_JOBS, detail)
    return service.jobs


JobsDep = Annotated[JobStore, Depends(get_jobs)]
WebhookQuery = Annotated[
    str | None,
    Query(
        max_length=2000,
        description="announce the end of the job there: a signed POST, repeated until it is answered with 2xx. Only "
        "origins that the service allows",
        examples=["https://clinic.example.org/cin"],
    ),
]


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=JobStatus,
    dependencies=[Depends(require_json)],
    responses={**_CREATED, **documented(*_ERRORS)},
    openapi_extra=_BODY,
)
async def create_job(
    request: Request,
    response: Response,
    service: ServiceDep,
    jobs: JobsDep,
    caller: CallerDep,
    point: PointDep,
    webhook_url: WebhookQuery = None,
) -> JobStatus | Response:
    """Send many dermoscopy images, to be judged later: a multipart form as for `/v1/predictions/batch`; or a query, by
    which they are found on a DICOMweb server.

    The images are on the disk of the service's Redis when this answers, and each is erased there once it is judged. Of
    images that are found, none comes to that disk.
    """
    settings = service.settings
    _require_webhook(service, webhook_url)
    await jobs.require_durable()
    ends = asyncio.get_running_loop().time() + settings.deadline_seconds
    id = secrets.token_hex(16)
    try:
        if media_type_of(request) == JSON:
            asked = (await read_json(request, JobRequest, ends)).dicomweb
            require_server(service.dicomweb, asked.server, caller)
            await require_live_key(request, service)
            new = NewJob(id, caller.name, caller.client, point.name, [], 0, webhook_url, asked, settings.job_pictures)
            return _accepted(response, await _keep(service, jobs, new, []))
        with service.admission.enter(caller.counted_as) as entry:
            limits = UploadLimits(settings.max_upload_bytes, ends, entry.add_bytes)
            most = {"max_files": settings.job_pictures, "max_bytes": settings.job_max_bytes}
            pictures, texts = await read_uploads(request, limits, **most)
            followed = follow_ups(service, len(pictures), texts.get(LESION), texts.get(VISIT))
            references: Sequence[str | None] = texts.get(REFERENCE) or [None] * len(pictures)
            await require_live_key(request, service)
            items = [Item(reference=r, follow_up=f) for r, f in zip(references, followed, strict=True)]
            size = sum(map(len, pictures))
            new = NewJob(id, caller.name, caller.client, point.name, items, size, webhook_url)
            return _accepted(response, await _keep(service, jobs, new, pictures))
    except ClientDisconnect:
        return Response(status_code=499)  # what proxies log for it


@router.get("/v1/jobs/{id}", responses=documented(NOT_FOUND, NO_JOBS, NOT_READY))
async def get_job(id: str, jobs: JobsDep, caller: CallerDep) -> JobStatus:
    """How far a job is."""
    return (await _find(jobs, caller, id)).status()


@router.get(
    "/v1/jobs/{id}/results",
    response_model=JobResults,
    responses=documented(MALFORMED, NOT_FOUND, CONFLICT, NO_JOBS, NOT_READY),
)
async def list_results(
    id: str,
    request: Request,
    service: ServiceDep,
    jobs: JobsDep,
    caller: CallerDep,
    view: ViewDep,
    after: Annotated[int, Query(ge=0, description="how many results to pass over; `next` says it")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_RESULTS, description="most results of the page")] = 100,
    order: Annotated[
        Literal["completion", "input"],
        Query(
            description="`completion`: as they became ready; `input`: as they were sent, up to the first that is not"
        ),
    ] = "completion",
) -> Response:
    """The results so far, page by page: of each image what `/v1/predictions/batch` says of it, and its `index`."""
    service.health.require_ready()
    job = await _find(jobs, caller, id)
    found = await jobs.results(job, after=after, limit=limit, as_sent=order == "input")
    await service.audit.record("job-read", by=caller.name, job=id, after=after, num=len(found), outcome="done")
    await require_live_key(request, service)
    shown = await asyncio.to_thread(
        lambda: [_shown(service, JobResult.model_validate_json(each), view) for each in found]
    )
    end = after + len(found)
    query = {**dict(request.query_params), "after": end}
    more = None if end >= job.pictures else f"/v1/jobs/{id}/results?{urlencode(query)}"
    return Response(JobResults(results=shown, next=more).model_dump_json(), media_type=JSON)


@router.delete("/v1/jobs/{id}", status_code=204, responses=documented(NOT_FOUND, NO_JOBS, NOT_READY))
async def delete_job(id: str, service: ServiceDep, jobs: JobsDep, caller: CallerDep) -> None:
    """Cancel a job, and delete it: images that wait, results, and the predictions that are kept of it."""
    job = await _find(jobs, caller, id)
    # Before anything is gone: nothing is deleted while that cannot be written down.
    await service.audit.record("job-delete", by=caller.name, job=id, outcome="requested")
    try:
        predictions = await jobs.erase(id, caller.owners)
        if predictions is None:
            raise _unknown_job()
        ids = list(predictions)
        for at in range(0, len(ids), _AT_ONCE):
            some = ids[at : at + _AT_ONCE]
            await asyncio.gather(*[service.records.delete(each, job.owner) for each in some])
            for each in some:
                service.overlays.forget(each)
    except Exception as error:
        service.audit.note("job-delete", by=caller.name, job=id, outcome=outcome_of(error))
        raise
    with suppress(AuditError):  # that it was asked for is written down, and it cannot be undone
        await service.audit.record("job-delete", by=caller.name, job=id, outcome="done")


def _accepted(response: Response, job: Job) -> JobStatus:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job.status()


async def _keep(service: Service, jobs: JobStore, new: NewJob, pictures: list[bytes]) -> Job:
    """Keep a new job, and write it to the audit log; both or neither."""
    settings = service.settings
    share = 1.0 if service.keys is None else 0.5
    job = await jobs.create(new, pictures, settings.jobs_max_bytes, share, settings.jobs_ttl_seconds)
    try:
        what: dict[str, Any] = {"pictures": job.pictures} if job.listed else {"dicomweb": job.server}
        await service.audit.record("job", by=new.owner, job=new.id, **what, outcome="done")
    except BaseException:
        await asyncio.shield(jobs.erase(new.id, [new.owner]))
        raise
    return job


def _require_webhook(service: Service, url: str | None) -> None:
    if url is None:
        return
    origins = service.settings.webhook_origins
    if not origins:
        raise ServiceError(MALFORMED, "webhook_url: this service announces nothing; set CIN_WEBHOOK_ORIGINS, or ask")
    try:
        require_allowed(url, origins)
    except WebhookError as error:
        raise ServiceError(MALFORMED, str(error)) from None


async def _find(jobs: JobStore, caller: Caller, id: str) -> Job:
    """The caller's job. Raises the 404 that stands for unknown, expired, deleted and another caller's jobs alike."""
    job = await jobs.get(id, caller.owners) if is_id(id) else None
    if job is None:
        raise _unknown_job()
    return job


def _unknown_job() -> ServiceError:
    return ServiceError(NOT_FOUND, "no such job; it may have expired or been deleted. Send the images again")


def _shown(service: Service, result: JobResult, view: View) -> JobResult:
    if result.prediction is None:
        return result
    if view.prevalence is not None:
        require_same_model(service, result.prediction)
    seen = show(result.prediction, service.scheduler.bundle.manifest, view)
    return result.model_copy(update={"prediction": seen})
