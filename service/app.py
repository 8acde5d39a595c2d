"""Composition: the routes, the errors, the metrics and the running service as one FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from service.api.dependencies import ADMITTED, admit
from service.api.error_handlers import install_error_handlers, outcome_of
from service.api.middleware import Observability
from service.api.routes import admission, attention, batches, health, model, page, predictions
from service.api.routes import docs as reference
from service.api.same_origin import SameOrigin
from service.prediction.metrics import PredictionMetrics
from service.problems import documented
from service.runtime import running
from service.settings import Settings


def create_app(settings: Settings, on_fatal: Callable[[str], None] = lambda reason: None) -> FastAPI:
    """The app for ``settings``; its lifespan loads the model and keeps the running service in ``app.state.service``.

    ``on_fatal`` gets the reason why the process should end: from then on the service takes no requests. The lifespan
    raises what :func:`service.runtime.running` raises for what cannot be served.
    """
    metrics = PredictionMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(settings, metrics, on_fatal, outcome_of) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="Clinical-Inspired Network",
        summary="Dermoscopy picture in; diagnosis, attention, crop box out. Research software, not a medical device.",
        version=version("clinical-inspired-network"),
        lifespan=lifespan,
        redirect_slashes=False,
        # Ours are in routes/docs.py: FastAPI's load scripts from another site.
        docs_url=None,
        redoc_url=None,
        # Exported spans and logs would contain what was sent.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.metrics = metrics
    install_error_handlers(app)
    for routes in (predictions, batches, attention, model):
        app.include_router(routes.router, dependencies=[Depends(admit)], responses=documented(*ADMITTED))
    app.include_router(admission.router)  # identifies its caller, and does not count the request
    for public in (health, reference):
        app.include_router(public.router)
    app.include_router(page.page_router(page.read_assets()))
    if settings.keys is None:
        app.add_middleware(SameOrigin, any_name=settings.allow_anyone)
    app.add_middleware(Observability, metrics=metrics)
    return app
