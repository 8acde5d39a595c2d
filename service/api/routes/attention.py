"""``GET /v1/predictions/{id}/maps/{map}``, ``GET /attention/{id}``: where the network looked."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.access.keys import Caller
from service.api.dependencies import CallerDep, ServiceDep, find_record, is_known, require_live_key
from service.attention.overlay import (
    MEDIA_TYPE,
    BranchChoice,
    Layer,
    MapKind,
    MissingMap,
    OverlayError,
    OverlayOptions,
    View,
    at_cell,
    encode,
    render,
)
from service.prediction.attention_summary import AttentionSummary, summarise
from service.problems import (
    DEADLINE,
    MALFORMED,
    NOT_FOUND,
    NOT_READY,
    QUEUE_FULL,
    RATE_LIMITED,
    ServiceError,
    documented,
)
from service.runtime import Service
from service.storage.store import DamagedRecord

log = logging.getLogger(__name__)

router = APIRouter(tags=["maps"])

T = TypeVar("T")

_ERRORS = (MALFORMED, NOT_FOUND, QUEUE_FULL, RATE_LIMITED, NOT_READY, DEADLINE)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {}}, "description": "The overlay"},
    304: {"description": "The overlay that the client has already (If-None-Match)"},
    **documented(*_ERRORS),
}

_SPOT = "pixel of the upright image, for `map=correlation`; {} goes with it"
MapQuery = Annotated[MapKind, Query(alias="map", description="which map")]
MapPath = Annotated[MapKind, Path(alias="map", description="which map")]
BranchQuery = Annotated[BranchChoice, Query(description="a branch's own map, or the mean of both")]
XQuery = Annotated[float | None, Query(ge=0.0, allow_inf_nan=False, description=_SPOT.format("y"))]
YQuery = Annotated[float | None, Query(ge=0.0, allow_inf_nan=False, description=_SPOT.format("x"))]


@dataclass(frozen=True)
class Look:
    """How a map is to be drawn."""

    branch: BranchChoice
    view: View
    layer: Layer
    opacity: float
    spot: tuple[float, float] | None

    def options(self, kind: MapKind) -> OverlayOptions:
        """The same for one map."""
        return OverlayOptions(kind=kind, **vars(self))


async def choose_spot(x: XQuery = None, y: YQuery = None) -> tuple[float, float] | None:
    """The spot of a correlation map. Raises the 400 of half a spot."""
    if (x is None) != (y is None):
        raise ServiceError(MALFORMED, "x and y go together: a spot has both")
    return (x, y) if x is not None and y is not None else None


SpotDep = Annotated[tuple[float, float] | None, Depends(choose_spot)]


async def choose_look(
    spot: SpotDep,
    branch: BranchQuery = "mean",
    view: Annotated[View, Query(description="over the whole image, with the crop box, or over the crop")] = "frame",
    layer: Annotated[Layer, Query(description="the map over the image, or one of both alone")] = "all",
    opacity: Annotated[float, Query(ge=0.0, le=1.0, description="of the map, 0 to 1; rounded to a twentieth")] = 0.6,
) -> Look:
    """How the client wants a map to be drawn: few different overlays, so that the cache has them."""
    return Look(branch, view, layer, round(20 * opacity) / 20, spot)


LookDep = Annotated[Look, Depends(choose_look)]


@router.get("/v1/predictions/{id}/maps/{map}", response_class=Response, responses=_RESPONSES)
async def get_map(
    id: str, kind: MapPath, request: Request, service: ServiceDep, caller: CallerDep, look: LookDep
) -> Response:
    """An attention map over the image (`view=frame`, with the crop box) or over the crop.

    For `correlation`, `x` and `y` pick a spot and show what the network relates to it; without them, how much each spot
    is attended to. Colours have a fixed scale; a map without evidence is not drawn, and the image says so.
    `layer=map` is the map alone, transparent where there is none, to be laid over the image elsewhere;
    `layer=picture` is the image as the network was given it.
    """
    return await _overlay(id, request, service, caller, look.options(kind))


@router.get("/attention/{id}", response_class=Response, responses=_RESPONSES)
async def get_attention(
    id: str, request: Request, service: ServiceDep, caller: CallerDep, look: LookDep, kind: MapQuery = "lesion"
) -> Response:
    """The same as `GET /v1/predictions/{id}/maps/{map}`."""
    return await _overlay(id, request, service, caller, look.options(kind))


async def _overlay(id: str, request: Request, service: Service, caller: Caller, options: OverlayOptions) -> Response:
    kept = await find_record(service, caller, id, what="attention-read")
    record, made = kept.stored, kept.prediction.created_at
    if options.spot is not None:
        options = await _draw(service, caller, lambda: at_cell(record.maps, options))
    # Not for the disk of a browser; the ETag is for clients that keep overlays themselves.
    headers = {"ETag": _etag(id, made, options), "Cache-Control": "no-store"}
    if is_known(request, headers["ETag"]):
        await require_live_key(request, service)
        return Response(status_code=304, headers=headers)

    def draw() -> bytes:
        with service.metrics.timed("render"):
            return encode(render(record.maps, options))

    content = service.overlays.get(id, made, options)
    if content is None:
        content = await _draw(service, caller, draw)
        service.overlays.put(id, made, options, content)
    await require_live_key(request, service)
    return Response(content, media_type=MEDIA_TYPE, headers=headers)


@router.get("/v1/predictions/{id}/maps/{map}/summary", responses=documented(*_ERRORS))
async def get_map_summary(
    id: str,
    kind: MapPath,
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
    spot: SpotDep,
    branch: BranchQuery = "mean",
) -> AttentionSummary:
    """The same map in figures: how much stands out, where, and for `lesion` its outline."""
    return await _summary(id, request, service, caller, OverlayOptions(kind=kind, branch=branch, spot=spot))


@router.get("/attention/{id}/summary", deprecated=True, responses=documented(*_ERRORS))
async def get_attention_summary(
    id: str,
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
    spot: SpotDep,
    kind: MapQuery = "lesion",
    branch: BranchQuery = "mean",
) -> AttentionSummary:
    """The same as `GET /v1/predictions/{id}/maps/{map}/summary`."""
    return await _summary(id, request, service, caller, OverlayOptions(kind=kind, branch=branch, spot=spot))


async def _summary(
    id: str, request: Request, service: Service, caller: Caller, options: OverlayOptions
) -> AttentionSummary:
    record = (await find_record(service, caller, id, what="attention-read")).stored
    summary = await _draw(service, caller, lambda: summarise(record.maps, options))
    await require_live_key(request, service)
    return summary


async def _draw(service: Service, caller: Caller, function: Callable[[], T]) -> T:
    """The result of ``function``, which draws; it takes a slot and has a deadline, as an image has."""
    seconds = service.settings.deadline_seconds
    try:
        with service.admission.enter(caller.counted_as) as entry:
            entry.take_slots()
            async with asyncio.timeout(seconds):
                return await service.scheduler.compute(function, caller.counted_as)
    except TimeoutError:
        raise ServiceError(DEADLINE, f"not drawn within {seconds:g} s; try again later") from None
    except MissingMap as error:
        raise ServiceError(NOT_FOUND, str(error)) from error
    except OverlayError as error:
        raise ServiceError(MALFORMED, str(error)) from error
    except DamagedRecord as error:
        log.error("a kept prediction: %s", error)
        raise


def _etag(id: str, made: datetime, options: OverlayOptions) -> str:
    """An overlay depends on its record, which never changes once it is made, on the options, and on the version."""
    said = f"{version('clinical-inspired-network')} {id} {made.isoformat()} {options}"
    return f'"{hashlib.sha256(said.encode()).hexdigest()[:32]}"'
