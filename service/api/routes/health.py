"""For orchestrators and Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from service.api.dependencies import ADMITTED, ServiceDep, admit
from service.prediction.schemas import Readiness
from service.problems import documented

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
async def readyz(service: ServiceDep, response: Response) -> Readiness:
    """Whether requests are taken: the canary image got its known answer, keys, audit log, ledger and store of
    predictions work."""
    reason = service.health.not_ready_because()
    if reason is None and service.health.draining:
        reason = "shutting down"
    if reason is None and service.keys is not None and service.keys.failure is not None:
        reason = "which keys are valid cannot be told"
    if reason is None and service.audit.refusing:
        reason = "the audit log takes no entries"
    if reason is None and service.records.failing:
        reason = "predictions cannot be kept"
    if reason is None and service.ledger.failing:
        reason = "the ledger cannot be written"
    if reason is None and service.predictor.decoders.failing:
        reason = "images cannot be decoded"
    response.status_code = 200 if reason is None else 503
    return Readiness(
        ready=reason is None,
        reason=reason,
        provider=service.scheduler.engine.provider,
        variant=service.scheduler.engine.variant.name,
        queue_depth=service.scheduler.batcher.depth,
        canary_max_difference=service.health.canary_difference,
    )


@router.get("/metrics", response_class=Response, dependencies=[Depends(admit)], responses=documented(*ADMITTED))
async def metrics(service: ServiceDep) -> Response:
    """Prometheus' text format."""
    return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
