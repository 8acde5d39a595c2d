"""Builds the object graph of a running service, and of predictions on the command line."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, NamedTuple

from service import background
from service.access.keys import LiveKeys
from service.admission.admission import Admission
from service.admission.rate_limit import RateLimit
from service.attention.cache import OverlayCache
from service.audit.access import AccessChanges
from service.audit.file import AuditError, AuditFile
from service.audit.log import AuditLog
from service.bundle import Bundle, load_bundle
from service.health import Health
from service.imaging import PictureError, PictureLimits, PictureTooLarge
from service.imaging.decoder_pool import DecoderPool
from service.imaging.fork_server import DecoderError, ForkServer
from service.inference.answers import EngineError
from service.inference.engine import Engine
from service.inference.scheduler import Scheduler
from service.inference.sessions import GpuOptions
from service.jobs.metrics import ServiceMetrics
from service.jobs.metrics import watch as watch_jobs
from service.jobs.servers import DicomwebServer, read_servers
from service.jobs.store import JobStore
from service.ledger.file import LedgerFile
from service.ledger.ledger import Ledger
from service.prediction.describe import make_examiner
from service.prediction.idempotency import Idempotency
from service.prediction.metrics import PredictionMetrics
from service.prediction.predictor import Predictor
from service.settings import Settings
from service.storage.opening import open_store
from service.storage.records import Records

log = logging.getLogger(__name__)

OnFatal = Callable[[str], None]
OutcomeOf = Callable[[BaseException], str]


@dataclass(frozen=True)
class Service:
    """Everything that requests need; there is no other state."""

    settings: Settings
    predictor: Predictor
    scheduler: Scheduler
    health: Health
    admission: Admission
    keys: LiveKeys | None
    records: Records
    ledger: Ledger
    overlays: OverlayCache
    audit: AuditLog
    access_changes: AccessChanges
    idempotency: Idempotency
    metrics: ServiceMetrics
    jobs: JobStore | None
    dicomweb: Mapping[str, DicomwebServer]  # that jobs may name


class _Kept(NamedTuple):  # of predictions
    records: Records
    ledger: Ledger
    audit: AuditLog


@asynccontextmanager
async def running(
    settings: Settings, metrics: ServiceMetrics, on_fatal: OnFatal, outcome_of: OutcomeOf
) -> AsyncIterator[Service]:
    """Load, warm up, check the canary; then a service that takes requests until the end of the block.

    ``on_fatal`` is called with the reason when the process should end; ``outcome_of`` names an error in the audit log.
    Raises :class:`BundleError`, :class:`EngineError`, :class:`RecordsError`, :class:`LedgerError`,
    :class:`AccessError`, :class:`AuditError` or :class:`JobsError` when the service cannot start.
    """
    # First, because it loads while the network does.
    with ForkServer(on_failure=metrics.decoder_forks_failed.inc) as fork_server:
        service = _build_service(settings, metrics, on_fatal, outcome_of, fork_server)
        async with _taking_requests(service):
            yield service


@asynccontextmanager
async def _taking_requests(service: Service) -> AsyncIterator[None]:
    scheduler, health, metrics = service.scheduler, service.health, service.metrics
    tasks: list[asyncio.Task[None]] = []
    try:
        scheduler.batcher.start()
        await scheduler.warm_up()
        await _warm_up_decoders(service.predictor)
        await health.check_canary()
        if health.failure is not None:
            raise EngineError(health.failure)
        if service.keys is not None:  # the warm-up may take minutes, and keys go stale
            await asyncio.to_thread(service.keys.look_again)
        await service.audit.record("start", **_described(service))
        service.audit.log_head()
        metrics.ready.set(1)
        tasks = _start_background_tasks(service)
        log.info("%s runs on %s", scheduler.engine.variant.name, scheduler.engine.provider)
        yield
    finally:
        await health.shut_down()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # a failure was logged
        await scheduler.batcher.stop()
        service.predictor.decoders.close()
        await service.records.drain()
        await service.ledger.close()
        with suppress(AuditError):
            await service.access_changes.write()
            await service.audit.record("stop", reason=health.failure)
        service.audit.log_head()
        await service.audit.close()
        scheduler.close()
        service.records.close()
        if service.jobs is not None:
            service.jobs.close()


@asynccontextmanager
async def predicting(settings: Settings, bundle: Bundle) -> AsyncIterator[Predictor]:
    """Predictions without a service: nothing is kept or written to the audit log.

    Raises :class:`BundleError` or :class:`EngineError` when the bundle cannot run with these settings.
    """
    metrics = PredictionMetrics()
    kept = _Kept(Records(None), Ledger(None), AuditLog(None, metrics=metrics))
    with ForkServer() as fork_server:
        no_one, failed = (lambda reason: None), (lambda error: "failed")
        predictor = _build_predictor(settings, bundle, metrics, kept, fork_server, no_one, failed, max_costly=None)
        scheduler = predictor.scheduler
        try:
            scheduler.batcher.start()
            yield predictor
        finally:
            await predictor.health.shut_down()
            await scheduler.batcher.stop()
            predictor.decoders.close()
            await kept.audit.close()
            await kept.ledger.close()
            scheduler.close()
            kept.records.close()


async def _warm_up_decoders(predictor: Predictor) -> None:
    """Decode the canary image like a request's image. Raises :class:`EngineError` when that fails."""
    try:
        await predictor.check_decoder()
    except PictureTooLarge:  # the limits are this service's, not the bundle's
        pass
    except (DecoderError, PictureError) as error:
        raise EngineError(f"the canary image cannot be decoded: {error}") from error


def _start_background_tasks(service: Service) -> list[asyncio.Task[None]]:
    settings, changes, health = service.settings, service.access_changes, service.health
    purge_seconds = min(background.PURGE_SECONDS, settings.record_ttl_seconds)
    work = [
        background.watch_canary(health, every_seconds=settings.canary_seconds),
        background.watch_decoder(health, service.predictor.check_decoder, every_seconds=settings.canary_seconds),
        background.watch_store(service.records),
        background.purge(
            service.records, service.overlays, service.audit, changes, service.metrics, every_seconds=purge_seconds
        ),
    ]
    if settings.ledger is not None:
        work.append(background.watch_ledger(service.ledger, service.metrics))
    if service.jobs is not None:
        work.append(watch_jobs(service.jobs, service.metrics.jobs))
    if settings.audit is not None:
        work.append(background.log_audit_head(service.audit))
    if service.keys is not None:
        work.append(background.reload_keys(service.keys, changes))
    return [background.start(task, health) for task in work]


def _described(service: Service) -> dict[str, Any]:
    """What is running, for the audit log."""
    engine = service.scheduler.engine
    return {
        "version": version("clinical-inspired-network"),
        "model": engine.bundle.sha256,
        "variant": engine.variant.name,
        "provider": engine.provider,
        "keys": None if service.keys is None else sorted(service.keys.named),
    }


def _build_service(
    settings: Settings, metrics: ServiceMetrics, on_fatal: OnFatal, outcome_of: OutcomeOf, fork_server: ForkServer
) -> Service:
    keys = None if settings.keys is None else LiveKeys(settings.keys)
    audit = AuditLog(None if settings.audit is None else AuditFile(settings.audit), metrics=metrics)
    bundle = load_bundle(settings.bundle)
    records = Records(open_store(settings))
    kept = _Kept(records, Ledger(None if settings.ledger is None else LedgerFile(settings.ledger)), audit)
    predictor = _build_predictor(settings, bundle, metrics, kept, fork_server, on_fatal, outcome_of)
    scheduler = predictor.scheduler
    admission = Admission(
        RateLimit(settings.caller_rate),
        slots=settings.queue_size,
        max_per_caller=settings.max_in_flight_per_caller(),
        max_bytes=settings.queue_size * settings.max_upload_bytes,
    )
    metrics.describe_model(bundle, variant=scheduler.engine.variant.name, provider=scheduler.engine.provider)
    metrics.gpu_expected.set(settings.expects_gpu())
    metrics.queue_depth.set_function(lambda: scheduler.batcher.depth)
    metrics.slots.set(admission.slots)
    metrics.slots_taken.set_function(lambda: admission.slots_taken)
    return Service(
        settings=settings,
        predictor=predictor,
        scheduler=scheduler,
        health=predictor.health,
        admission=admission,
        keys=keys,
        records=records,
        ledger=kept.ledger,
        overlays=OverlayCache(),
        audit=audit,
        access_changes=AccessChanges(audit),
        # Without keys all clients have one owner, and only the id protects their predictions from each other.
        idempotency=Idempotency(secrets.token_bytes(32) if keys is None else b"", records.is_writing),
        metrics=metrics,
        jobs=None if settings.jobs_url is None else JobStore(settings.jobs_url.get_secret_value()),
        dicomweb=read_servers(settings.dicomweb_servers),
    )


def _build_predictor(
    settings: Settings,
    bundle: Bundle,
    metrics: PredictionMetrics,
    kept: _Kept,
    fork_server: ForkServer,
    on_fatal: OnFatal,
    outcome_of: OutcomeOf,
    *,
    max_costly: int | None = 4,  # at most one per client; each holds a slot for seconds
) -> Predictor:
    point = bundle.manifest.operating_point(settings.operating_point)
    engine = Engine(
        bundle,
        variant=settings.variant,
        provider=settings.provider,
        require_gpu=settings.require_gpu,
        gpu=GpuOptions(
            memory_bytes=settings.gpu_memory_bytes,
            largest_batch=settings.effective_max_batch("cuda"),
            tensorrt_cache=settings.tensorrt_cache,
        ),
        threads=settings.inference_threads,
    )
    scheduler = Scheduler(
        engine,
        threads=settings.inference_threads,
        max_batch=settings.effective_max_batch(engine.provider),
        max_costly=max_costly,
        on_batch=metrics.batch_size.observe,
        on_failure=lambda error: health.on_inference_failure(error),
    )
    health = Health(scheduler, metrics, on_fatal, timeout_seconds=settings.deadline_seconds)
    decoders = DecoderPool(
        fork_server,
        scheduler.compute,
        scheduler.compute_costly,
        frame_size=bundle.manifest.frame_size,
        jpeg_quality=bundle.manifest.frame_jpeg_quality,
        pictures=PictureLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels),
        on_replaced=lambda reason: metrics.decoders_replaced.labels(reason).inc(),
        on_decoded=metrics.stages.labels("decode").observe,
    )
    return Predictor(
        decoders=decoders,
        scheduler=scheduler,
        health=health,
        point=point,
        examiner=make_examiner(bundle, settings.abstain),
        records=kept.records,
        ledger=kept.ledger,
        audit=kept.audit,
        metrics=metrics,
        outcome_of=outcome_of,
        lifetime=None if kept.records.store is None else timedelta(seconds=settings.record_ttl_seconds),
    )
