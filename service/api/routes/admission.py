"""``GET /admission``: for a proxy that asks before it reads an upload."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.dependencies import ADMITTED, KnownCallerDep, ServiceDep
from service.problems import QUEUE_FULL, documented

router = APIRouter(tags=["operation"])


@router.get("/admission", status_code=204, responses=documented(*ADMITTED, QUEUE_FULL))
async def get_admission(service: ServiceDep, caller: KnownCallerDep) -> None:
    """Whether an image of this caller would be taken now: for a proxy that asks before it reads an upload.

    The question does not count against the caller's rate; the upload does.
    """
    service.health.require_admitting()
    service.records.require_working()
    service.predictor.decoders.require_working()
    with service.admission.enter(caller.counted_as):
        pass
