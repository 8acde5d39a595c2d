"""``GET /model``: which model answers here."""

from __future__ import annotations

from fastapi import APIRouter

from service.routes.dependencies import ServiceDep, in_worker
from service.schemas import ModelCard

router = APIRouter(tags=["model"])


@router.get("/model")
async def get_model(service: ServiceDep) -> ModelCard:
    """The model's card and manifest, and how it runs."""
    engine = service.engine
    return ModelCard(
        card=await in_worker(service, engine.bundle.model_card),
        manifest=engine.bundle.manifest,
        sha256=engine.bundle.sha256,
        variant=engine.variant.name,
        provider=engine.provider,
    )
