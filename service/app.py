"""Composition: one typed object graph, built from the settings, behind a FastAPI app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version

from fastapi import FastAPI

from service.batching import Batcher, batch_sizes
from service.bundle import OperatingPoint, load_bundle
from service.engine import Engine
from service.errors import NOT_READY, ServiceError, install_error_handlers
from service.imaging import PictureLimits
from service.metrics import Metrics
from service.middleware import BodyLimit, Observability
from service.records import RecordStore, SqliteRecords
from service.routes import attention, health, model, predictions
from service.settings import Settings

log = logging.getLogger(__name__)

# Room for multipart headers around a picture of the largest size.
MULTIPART_OVERHEAD = 64 * 1024

# Errors after which a CUDA context gives nothing but errors, or worse, wrong answers.
FATAL_MARKS = ("CUDA failure", "CUDNN", "CUBLAS", "device-side assert", "illegal memory access")


@dataclass
class Service:
    """Everything a request needs; there is no other state."""

    settings: Settings
    engine: Engine
    operating_point: OperatingPoint
    batcher: Batcher
    records: RecordStore
    metrics: Metrics
    workers: ThreadPoolExecutor
    limits: PictureLimits
    on_fatal: Callable[[str], None]
    not_ready_because: str | None = "starting"
    canary_difference: float | None = None
    _background: list[asyncio.Task[None]] = field(default_factory=list)

    def require_ready(self) -> None:
        """Raises the 503 of a service that starts, drains or can no longer be trusted."""
        if self.not_ready_because is not None:
            raise ServiceError(
                NOT_READY,
                f"not ready: {self.not_ready_because}; try again later",
                headers={"Retry-After": "5"},
            )

    async def start(self) -> None:
        """Warm up, check the canary, and take requests. Raises ``RuntimeError`` when the canary differs."""
        self.batcher.start()
        sizes = batch_sizes(self.settings.effective_max_batch(self.engine.provider))
        await self.batcher.call(lambda: self.engine.warm_up(sizes))
        self.not_ready_because = None
        await self.check_canary()
        if self.not_ready_because is not None:
            raise RuntimeError(self.not_ready_because)
        self.metrics.ready.set(1)
        self._background.append(asyncio.create_task(self._watch_canary()))

    async def stop(self) -> None:
        """Refuse new work and let go of everything."""
        self.not_ready_because = self.not_ready_because or "shutting down"
        self.metrics.ready.set(0)
        for task in self._background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.batcher.stop()
        self.workers.shutdown()
        self.records.close()

    async def check_canary(self) -> None:
        """Run the known picture; a wrong answer latches the service not ready."""
        tolerance = self.engine.bundle.manifest.canary.tolerance
        try:
            self.canary_difference = await self.batcher.call(self.engine.canary_difference)
        except Exception as error:
            log.exception("the canary failed")
            self.fail(f"the canary picture failed: {type(error).__name__}")
            return
        self.metrics.canary_difference.set(self.canary_difference)
        if self.canary_difference <= tolerance:
            self.metrics.canary_ok.set(1)
        else:
            self.fail(f"the canary picture's probabilities differ by {self.canary_difference:.2g} from the bundle's")

    async def _watch_canary(self) -> None:
        while True:
            await asyncio.sleep(self.settings.canary_seconds)
            await self.check_canary()

    def fail(self, reason: str) -> None:
        """Latch not ready: nothing this process answers from now on could be trusted."""
        log.critical("%s; taking no more requests", reason)
        self.not_ready_because = reason
        self.metrics.ready.set(0)
        self.metrics.canary_ok.set(0)
        self.on_fatal(reason)

    def on_inference_error(self, error: Exception) -> None:
        """Count a failed batch, and give up when the device is lost."""
        self.metrics.inference_errors.inc()
        log.error("inference failed: %s", error)
        if any(mark in str(error) for mark in FATAL_MARKS):
            self.fail("the GPU failed")


def build_service(settings: Settings, on_fatal: Callable[[str], None]) -> Service:
    """Build the object graph. Raises ``BundleError`` or ``EngineError`` for what cannot be served."""
    bundle = load_bundle(settings.bundle)
    engine = Engine(
        bundle,
        variant=settings.variant,
        provider=settings.provider,
        require_gpu=settings.require_gpu,
        threads=settings.inference_threads,
    )
    metrics = Metrics(bundle, variant=engine.variant.name, provider=engine.provider)
    service = Service(
        settings=settings,
        engine=engine,
        operating_point=bundle.manifest.operating_point(settings.operating_point),
        batcher=Batcher(
            engine.run,
            queue_size=settings.queue_size,
            max_batch=settings.effective_max_batch(engine.provider),
            on_batch=metrics.batch_size.observe,
            on_error=lambda error: service.on_inference_error(error),
        ),
        records=SqliteRecords(
            settings.records_folder,
            ttl_seconds=settings.record_ttl_seconds,
            max_bytes=settings.record_max_bytes,
        ),
        metrics=metrics,
        workers=ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="picture"),
        limits=PictureLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels),
        on_fatal=on_fatal,
    )
    metrics.queue_depth.set_function(lambda: service.batcher.depth)
    return service


def create_app(settings: Settings, on_fatal: Callable[[str], None] = lambda reason: None) -> FastAPI:
    """The app for ``settings``. ``on_fatal`` is told when the process should end because it cannot be trusted.

    Raises ``BundleError`` or ``EngineError`` for what cannot be served.
    """
    service = build_service(settings, on_fatal)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Clinical-Inspired Network",
        summary="Dermoscopy picture in; diagnosis, attention, crop box out. Research software, not a medical device.",
        version=version("clinical-inspired-network"),
        lifespan=lifespan,
        # Exported spans and logs would carry what was sent.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    install_error_handlers(app)
    for routes in (predictions, attention, model, health):
        app.include_router(routes.router)
    # FastAPI's own limit would answer in plain text.
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes + MULTIPART_OVERHEAD)
    app.add_middleware(Observability, metrics=service.metrics)
    return app
