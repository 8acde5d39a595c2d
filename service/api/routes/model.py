"""``GET /v1/model``: which model answers here."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from service.api.dependencies import ServiceDep, alias
from service.prediction.describe import how_it_abstains
from service.prediction.schemas import ModelCard
from service.problems import NOT_READY, documented

router = APIRouter(tags=["model"])


@alias(router.get, "/v1/model", "/model", responses=documented(NOT_READY))
async def get_model(service: ServiceDep) -> ModelCard:
    """The model's card and manifest, and how it runs."""
    engine = service.scheduler.engine
    return ModelCard(
        card=await asyncio.to_thread(engine.bundle.model_card),
        manifest=engine.bundle.manifest,
        sha256=engine.bundle.sha256,
        variant=engine.variant.name,
        provider=engine.provider,
        operating_point=service.predictor.point.name,
        keeps_ledger=service.ledger.kept,
        takes_jobs=service.jobs is not None,
        abstains=how_it_abstains(engine.bundle, service.settings.abstain),
    )
