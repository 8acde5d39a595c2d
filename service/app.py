"""Composition: routes, error handlers, metrics and the running service as one FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from service.api import openapi
from service.api.dependencies import ADMITTED, admit, require_known_parameters
from service.api.error_handlers import install_error_handlers, outcome_of
from service.api.middleware import Observability
from service.api.other_origins import OtherOrigins
from service.api.routes import admission, attention, batches, follow_up, health, jobs, model, page, predictions
from service.api.routes import docs as reference
from service.api.same_origin import SameOrigin
from service.jobs.metrics import ServiceMetrics
from service.problems import documented
from service.runtime import Service, running
from service.settings import Settings


def create_app(settings: Settings, on_fatal: Callable[[str], None] = lambda reason: None) -> FastAPI:
    """The app for ``settings``; its lifespan loads the model and keeps the running service in ``app.state.service``.

    ``on_fatal`` is called with the reason when the process should end; the service takes no requests from then on. The
    lifespan raises what :func:`service.runtime.running` raises.
    """
    metrics = ServiceMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(settings, metrics, on_fatal, outcome_of) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="Clinical-Inspired Network",
        summary="Dermoscopy image in; advice, diagnosis, attention, crop box out. Not a medical device.",
        description="Research software, not a medical device. Read `decision` first. Errors are problem details "
        "(RFC 9457). Answers have an `X-Request-ID`, the client's own if it sent one.",
        version=version("clinical-inspired-network"),
        contact={"name": "Maintainers of the Clinical-Inspired Network"},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        generate_unique_id_function=openapi.operation_id,
        routes=_routes().routes,
        lifespan=lifespan,
        redirect_slashes=False,
        # Our own is in routes/docs.py: FastAPI's loads scripts from another site.
        docs_url=None,
        redoc_url=None,
        # Exported spans and logs would contain request data.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.metrics = metrics
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    install_error_handlers(app)
    if settings.keys is None:
        app.add_middleware(SameOrigin, any_name=settings.allow_anyone, origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            OtherOrigins,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "X-Request-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID"],
        )
    app.add_middleware(Observability, metrics=metrics)
    return app


@cache
def _routes() -> APIRouter:
    """All routes. They hold no state, so the apps of a process share them: FastAPI takes its time to examine them."""
    shared = APIRouter(generate_unique_id_function=openapi.operation_id)
    guards = [Depends(admit), Depends(require_known_parameters)]
    for routes in (
        batches,
        predictions,
        attention,
        follow_up,
        jobs,
        model,
    ):  # batches first: /v1/predictions/batch is not an id
        shared.include_router(routes.router, dependencies=guards, responses=documented(*ADMITTED))
    shared.include_router(admission.router)  # identifies its caller, and does not count the request
    for public in (health, reference):
        shared.include_router(public.router)
    shared.include_router(page.page_router(page.read_assets()))
    return shared


def _schema(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI schema, made after the bundle is loaded."""
    service: Service | None = getattr(app.state, "service", None)
    if service is None:
        return openapi.describe(app, None)
    if app.openapi_schema is None:
        app.openapi_schema = openapi.describe(app, service.scheduler.bundle.manifest)
    return app.openapi_schema
