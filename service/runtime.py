"""The one object graph of a running service, and its health over time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from service.access.keys import LiveKeys
from service.admission.rate_limit import CallerLimits
from service.admission.upload_budget import Uploads
from service.attention.cache import OverlayCache
from service.audit.file import AuditError, AuditFile
from service.audit.log import AuditLog
from service.background import keep_house, note_access_changes, watch_keys
from service.bundle import OperatingPoint, load_bundle
from service.imaging import PictureLimits
from service.inference.answers import DeviceError, EngineError, OutOfMemory
from service.inference.batching import Batcher, Stopped, batch_sizes
from service.inference.cpu_pool import CpuPool
from service.inference.engine import Engine
from service.inference.memory import give_back_freed, keep_for_pictures
from service.metrics import Metrics
from service.prediction.describe import Examiner, make_examiner
from service.problems import NOT_READY, ServiceError
from service.settings import Settings
from service.storage.redis import RedisRecords
from service.storage.sqlite import SqliteRecords
from service.storage.store import RecordStore

log = logging.getLogger(__name__)

T = TypeVar("T")

_RECORD_THREADS = 2


@dataclass
class Service:
    """Everything a request needs; there is no other state."""

    settings: Settings
    engine: Engine
    operating_point: OperatingPoint
    examiner: Examiner | None
    batcher: Batcher
    records: RecordStore
    renderings: OverlayCache
    metrics: Metrics
    workers: ThreadPoolExecutor
    cores: CpuPool
    limits: PictureLimits
    keys: LiveKeys | None
    caller_limits: CallerLimits
    audit: AuditLog
    uploads: Uploads
    on_fatal: Callable[[str], None]
    failure: str | None = None
    canary_difference: float | None = None
    recovery: asyncio.Task[None] | None = None
    key_changes: list[tuple[set[str], set[str]]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    background: set[asyncio.Task[Any]] = field(default_factory=set)

    def not_ready_because(self) -> str | None:
        """Why no requests are taken, or None when they are."""
        return self.failure or (None if self.batcher.alive else "the queue is not running")

    def require_ready(self) -> None:
        """Raises the 503 of a service that ends or can no longer be trusted."""
        if (reason := self.not_ready_because()) is not None:
            raise ServiceError(NOT_READY, f"not ready: {reason}; try again later", headers={"Retry-After": "5"})

    def in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something to its end, whether or not anybody waits for it: the service ends after it."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    async def in_worker(self, function: Callable[[], T]) -> T:
        """Run something that waits for a disk or another machine."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, function)

    async def on_core(self, function: Callable[[], T]) -> T:
        """Run something that computes."""
        return await self.cores.run(lambda _: function())

    async def check_canary(self) -> None:
        """Run the known picture; any answer but the known one latches the service not ready.

        In all the ways that pictures are run, and then as one more picture in the queue.
        """
        tolerance = self.engine.bundle.canary_tolerance(self.engine.variant.name)
        try:
            async with asyncio.timeout(self.settings.deadline_seconds):
                difference = await self.batcher.call(self.engine.canary_difference)
                queued = await self.batcher.submit(self.engine.canary_frame)
            self.canary_difference = max(difference, self.engine.difference_from_canary(queued.answer))
        except TimeoutError:
            self.fail("the canary picture got no answer in time")
        except Stopped:
            return  # the service is ending
        except Exception as error:  # whatever it was, the known answer did not come
            log.exception("the canary picture failed")
            self.fail(f"the canary picture failed ({type(error).__name__})")
        else:
            self.metrics.canary_difference.set(self.canary_difference)
            if self.canary_difference > tolerance:
                self.fail(
                    f"the canary picture's probabilities differ by {self.canary_difference:.2g} from the bundle's, "
                    f"{tolerance:.2g} is allowed"
                )
            elif self.failure is None:  # otherwise it failed meanwhile, which no right answer takes back
                self.metrics.canary_ok.set(1)

    def fail(self, reason: str) -> None:
        """Latch not ready: nothing this process answers from now on could be trusted."""
        if self.failure is not None:
            return
        log.critical("%s; taking no more requests", reason)
        self.failure = reason
        self.metrics.ready.set(0)
        self.metrics.canary_ok.set(0)
        self.on_fatal(reason)

    def on_inference_failure(self, error: Exception) -> None:
        """Count a picture that failed, and give up when it was not the picture's fault.

        Memory that was short may be there again, or the session may never recover: the canary tells.
        """
        self.metrics.inference_errors.inc()
        log.error("inference failed: %s", error)
        if isinstance(error, DeviceError):
            self.fail(error.reason)
        elif isinstance(error, OutOfMemory) and (self.recovery is None or self.recovery.done()):
            self.recovery = asyncio.create_task(self.check_canary())

    async def watch_canary(self) -> None:
        """Check the canary for as long as the service can be trusted."""
        while self.failure is None:
            await asyncio.sleep(self.settings.canary_seconds)
            await self.check_canary()


@asynccontextmanager
async def running(settings: Settings, metrics: Metrics, on_fatal: Callable[[str], None]) -> AsyncIterator[Service]:
    """Load, warm up, check the canary; then a service that takes requests until the block is left.

    Raises :class:`BundleError`, :class:`EngineError`, :class:`RecordsError`, :class:`AccessError` or
    :class:`AuditError` for what cannot be served.
    """
    service = _build(settings, metrics, on_fatal)
    batcher = service.batcher
    background: list[asyncio.Task[None]] = []
    try:
        batcher.start()
        sizes = batch_sizes(settings.effective_max_batch(service.engine.provider))
        await batcher.call(lambda: service.engine.warm_up(sizes))
        give_back_freed()
        await service.check_canary()
        if service.failure is not None:
            raise EngineError(service.failure)
        await service.audit.record("start", **_described(service))
        metrics.ready.set(1)
        loops = (service.watch_canary(), keep_house(service), watch_keys(service))
        background = [asyncio.create_task(loop) for loop in loops]
        log.info("%s runs on %s", service.engine.variant.name, service.engine.provider)
        yield service
    finally:
        service.failure = service.failure or "shutting down"
        metrics.ready.set(0)
        for task in (*background, *([] if service.recovery is None else [service.recovery])):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await batcher.stop()
        while service.background:
            await asyncio.wait(service.background)
        with suppress(AuditError):
            await note_access_changes(service)
            await service.audit.record("stop", reason=service.failure)
        await service.audit.close()
        service.workers.shutdown()
        service.cores.close()
        service.records.close()


def _described(service: Service) -> dict[str, Any]:
    """What runs here, for the audit log."""
    return {
        "version": version("clinical-inspired-network"),
        "model": service.engine.bundle.sha256,
        "variant": service.engine.variant.name,
        "provider": service.engine.provider,
        "keys": None if service.keys is None else sorted(service.keys.named),
    }


def _build(settings: Settings, metrics: Metrics, on_fatal: Callable[[str], None]) -> Service:
    keys = None if settings.keys is None else LiveKeys(settings.keys)
    audit_file = None if settings.audit is None else AuditFile(settings.audit)
    bundle = load_bundle(settings.bundle)
    operating_point = bundle.manifest.operating_point(settings.operating_point)
    engine = Engine(
        bundle,
        variant=settings.variant,
        provider=settings.provider,
        require_gpu=settings.require_gpu,
        gpu=settings.gpu_options(),
        threads=settings.inference_threads,
    )
    metrics.describe_model(bundle, variant=engine.variant.name, provider=engine.provider)
    metrics.gpu_expected.set(_expects_gpu(settings))
    on_cpu = engine.provider == "cpu"
    num_cores = settings.inference_threads
    keep_for_pictures(num_cores)
    cores = CpuPool(num_cores)
    service = Service(
        settings=settings,
        engine=engine,
        operating_point=operating_point,
        examiner=make_examiner(bundle, settings.abstain),
        batcher=Batcher(
            engine.run,
            queue_size=settings.queue_size,
            max_batch=settings.effective_max_batch(engine.provider),
            # One more than run at once, so that no core waits for the event loop.
            workers=engine.workers + 1 if on_cpu else 1,
            cpu_pool=cores if on_cpu else None,
            on_batch=metrics.batch_size.observe,
            on_failure=lambda error: service.on_inference_failure(error),
        ),
        records=_open_records(settings),
        renderings=OverlayCache(),
        metrics=metrics,
        workers=ThreadPoolExecutor(_RECORD_THREADS, thread_name_prefix="records"),
        cores=cores,
        limits=PictureLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels),
        keys=keys,
        caller_limits=CallerLimits(rate=settings.caller_rate, places=settings.places_of_a_caller()),
        audit=AuditLog(audit_file, metrics=metrics),
        uploads=Uploads(settings.queue_size * settings.max_upload_bytes),
        on_fatal=on_fatal,
    )
    metrics.queue_depth.set_function(lambda: service.batcher.depth)
    metrics.places.set(settings.queue_size)
    metrics.places_taken.set_function(lambda: settings.queue_size - service.batcher.free_places)
    return service


def _expects_gpu(settings: Settings, devices: Path = Path("/dev")) -> bool:
    asked = settings.require_gpu or settings.provider in ("cuda", "tensorrt")
    return asked or (settings.provider == "auto" and any(devices.glob("nvidia[0-9]*")))


def _open_records(settings: Settings) -> RecordStore:
    ttl, budget = settings.record_ttl_seconds, settings.record_max_bytes
    if settings.records_url is not None:
        return RedisRecords(settings.records_url.get_secret_value(), ttl_seconds=ttl, max_bytes=budget)
    return SqliteRecords(settings.records_folder, ttl_seconds=ttl, max_bytes=budget)
