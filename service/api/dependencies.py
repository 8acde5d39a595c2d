"""What several routes share: the service, the caller, the operating point, kept predictions, clients that leave."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.access.keys import ANYONE, AccessError, Caller, LiveKeys
from service.admission.rate_limit import address_group
from service.bundle import OperatingPoint
from service.prediction.prevalence import LEAST, MOST
from service.prediction.schemas import OperatingPointName, Prediction, read_prediction
from service.prediction.views import View, ViewError, calibrated_prevalence, show
from service.problems import (
    CONFLICT,
    FOREIGN_SITE,
    MALFORMED,
    NOT_FOUND,
    NOT_READY,
    RATE_LIMITED,
    UNAUTHORIZED,
    ServiceError,
)
from service.runtime import Service
from service.storage.store import DamagedRecord, StoredRecord

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Any])

# Problems of requests that :func:`admit` refuses.
ADMITTED = (UNAUTHORIZED, FOREIGN_SITE, RATE_LIMITED, NOT_READY)

_ID = re.compile("[0-9a-f]{32}")
_bearer = HTTPBearer(auto_error=False, description="An API key, cin_..., where the service asks for one.")


async def get_service(request: Request) -> Service:
    """The running service. Raises the 503 of an app that was not started.

    Asynchronous, because FastAPI runs other dependencies in a shared thread pool that may be exhausted.
    """
    service: Service | None = getattr(request.app.state, "service", None)
    if service is None:
        raise ServiceError(NOT_READY, "not ready: the service was not started; try again later")
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


async def identify(
    request: Request,
    service: ServiceDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """The caller. Where keys are needed, a request without a valid one counts against its address's rate, and gets the
    401, or :class:`TooMany` when that rate is used up.
    """
    address = f"address {address_group(request.client.host if request.client else '')}"
    if service.keys is None:
        return Caller(ANYONE, counted_as=address)
    caller = None if credentials is None else _caller_of(service.keys, credentials.credentials)
    if caller is None:
        refusal = _no_valid_key(service, credentials)  # counted, also when the next line refuses for another reason
        service.admission.count_request(address)
        raise refusal
    return caller


KnownCallerDep = Annotated[Caller, Depends(identify)]


async def admit(service: ServiceDep, caller: KnownCallerDep) -> Caller:
    """The caller, once the request is counted against its rate. Raises :class:`TooMany`."""
    service.admission.count_request(caller.counted_as)
    return caller


CallerDep = Annotated[Caller, Depends(admit)]


async def require_known_parameters(request: Request) -> None:
    """Raises the 400 of a query parameter that the route does not take, or has twice: a typing error would change what
    is asked."""
    taken = _query_parameters(request.scope["route"].dependant)
    given = [name for name, _ in request.query_params.multi_items()]
    if not set(given) <= taken or len(set(given)) < len(given):
        detail = f"an unknown query parameter, or one twice; this address takes {', '.join(sorted(taken)) or 'none'}"
        raise ServiceError(MALFORMED, detail)


def _query_parameters(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_query_parameters, dependant.dependencies))


async def require_live_key(request: Request, service: Service) -> None:
    """Raises the 401 of a key that was revoked since its request began, which an upload may make long, or a store."""
    if service.keys is not None:
        credentials = await _bearer(request)
        if credentials is None or _caller_of(service.keys, credentials.credentials) is None:
            raise _no_valid_key(service, credentials)


def _no_valid_key(service: Service, credentials: HTTPAuthorizationCredentials | None) -> ServiceError:
    service.access_changes.refuse("without_key" if credentials is None else "with_unknown_key")
    detail = "no valid API key came with the request; send Authorization: Bearer cin_..."
    return ServiceError(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def _caller_of(keys: LiveKeys, key: str) -> Caller | None:
    try:
        return keys.caller_of(key)
    except AccessError:  # it was logged
        detail = "which keys are valid cannot be told now; try again later"
        raise ServiceError(NOT_READY, detail, headers={"Retry-After": "5"}) from None


PointQuery = Annotated[
    OperatingPointName | None, Query(description="one of the model's; default: of a new prediction the service's")
]


async def choose_point(service: ServiceDep, operating_point: PointQuery = None) -> OperatingPoint:
    """The operating point of a prediction. Raises the 503 of a service that is not ready, and the 400 of an unknown
    point."""
    service.health.require_ready()
    if operating_point is None:
        return service.predictor.point
    return point_called(service, operating_point)


def point_called(service: Service, name: str) -> OperatingPoint:
    """The model's operating point of that name. Raises the 400 of an unknown one."""
    points = {point.name: point for point in service.scheduler.bundle.manifest.operating_points}
    if name not in points:
        detail = f"operating_point: the model has no such operating point; it has: {', '.join(points)}"
        raise ServiceError(MALFORMED, detail)
    return points[name]


PointDep = Annotated[OperatingPoint, Depends(choose_point)]


async def choose_view(
    service: ServiceDep,
    prevalence: Annotated[
        float | None,
        Query(
            ge=LEAST,
            le=MOST,
            allow_inf_nan=False,
            description="share of malignant lesions among your patients; probabilities and threshold are given for it",
        ),
    ] = None,
    include: Annotated[
        Literal["raw"] | None,
        Query(description="`raw`: diagnosis and probabilities also where nothing is advised, for research"),
    ] = None,
) -> View:
    """What the client wants to see of a prediction. Raises the 400 of a prevalence that the model cannot be asked for:
    here, because an image that was judged would be kept without a client that knows."""
    if prevalence is not None:
        try:
            calibrated_prevalence(service.scheduler.bundle.manifest)
        except ViewError as error:
            raise ServiceError(MALFORMED, f"prevalence: {error}") from error
    return View(prevalence, raw=include == "raw")


ViewDep = Annotated[View, Depends(choose_view)]


def shown(service: Service, prediction: Prediction, view: View, json: str | None = None) -> str:
    """The body of an answer; ``json`` is the whole prediction's where that is serialised."""
    seen = show(prediction, service.scheduler.bundle.manifest, view)
    return json if json is not None and seen is prediction else seen.model_dump_json()


def alias(
    method: Callable[..., Callable[[Handler], Handler]], path: str, old_path: str, **options: Any
) -> Callable[[Handler], Handler]:
    """Serve ``path``, and for clients of earlier versions ``old_path``."""

    def serve(handler: Handler) -> Handler:
        method(old_path, deprecated=True, name=f"{handler.__name__}_before_v1", **options)(handler)
        return method(path, **options)(handler)

    return serve


def require_same_model(service: Service, prediction: Prediction) -> None:
    """Raises the 409 of a prediction that another model made: its figures are not this model's to convert."""
    if prediction.model.sha256 != service.scheduler.bundle.sha256:
        raise ServiceError(CONFLICT, "another model made this prediction; send the image again")


class ClientGone(Exception):  # noqa: N818 - not a fault of the service
    """The client left before its answer was ready."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client disconnects. The body must have been read.

    Raises :class:`ClientGone`, or what ``work`` raises.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(disconnected())
    try:
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not task.done():  # a result that is ready is returned: the audit log says that it was answered
                raise
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        watcher.cancel()
        task.cancel()


@dataclass(frozen=True)
class KeptRecord:
    """A kept prediction, and what its overlays are drawn from."""

    prediction: Prediction
    stored: StoredRecord


async def kept_record(service: Service, caller: Caller, id: str) -> KeptRecord | None:
    """The caller's record called ``id``, unless it is unknown, expired, damaged or another caller's."""
    for owner in caller.owners if is_id(id) else ():
        with suppress(DamagedRecord):  # it was logged
            if (stored := await service.records.get(id, owner)) is not None:
                try:
                    return KeptRecord(read_prediction(stored.prediction, id), stored)
                except ValueError:
                    log.error("a kept prediction is damaged, or of another version")
    return None


async def find_record(service: Service, caller: Caller, id: str, *, what: str) -> KeptRecord:
    """The caller's record called ``id``; the access (``what``) is written to the audit log.

    Raises the 404 that stands for unknown, expired, damaged and another caller's records alike, and the 503 of a
    service that can no longer be trusted: its older predictions may be wrong as well.
    """
    service.health.require_ready()
    record = await kept_record(service, caller, id)
    await note_access(service, caller, what, id, "not-found" if record is None else "done")
    service.health.require_ready()  # trust may be lost while store and audit log are waited for
    if record is None:
        raise unknown_prediction()
    return record


async def note_access(service: Service, caller: Caller, what: str, id: str, outcome: str, **more: str) -> None:
    """Write an access to a prediction to the audit log; an id that is none of ours may be any text, and is left out."""
    named = {"id": id} if is_id(id) else {}
    await service.audit.record(what, by=caller.name, **named, **more, outcome=outcome)


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has the resource with this ``ETag`` already (RFC 9110, If-None-Match)."""
    known = request.headers.get("if-none-match", "")
    return etag in (tag.strip().removeprefix("W/") for tag in known.split(","))


def is_id(text: str) -> bool:
    """Whether it could be one of our ids: 128 bits in hexadecimal."""
    return _ID.fullmatch(text) is not None


def unknown_prediction() -> ServiceError:
    """The error for an id that names nothing."""
    return ServiceError(NOT_FOUND, "no such prediction; it may have expired or been deleted. Send the image again")
