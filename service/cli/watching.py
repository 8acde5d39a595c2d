"""What ``cin dicom watch`` puts together; loading this takes half a second, for pydicom."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from datetime import date

from prometheus_client import CollectorRegistry, ProcessCollector

from service import background
from service.bundle import load_bundle
from service.cli.common import serve_metrics
from service.dicom.identity import Kind
from service.pacs.metrics import OUTCOMES, WatchMetrics
from service.pacs.opening import open_pacs
from service.pacs.results import PredictedResults
from service.pacs.watch import Selection, Watch
from service.runtime import predicting
from service.settings import Settings

log = logging.getLogger(__name__)


async def watch(
    settings: Settings,
    url: str,
    *,
    modality: str,
    since: date | None,
    kinds: Sequence[Kind],
    every_seconds: float,
    once: bool,
) -> bool:
    """Watch a PACS until SIGTERM, or for one pass; False when an image of that has no results.

    Raises :class:`BundleError`, :class:`EngineError`, :class:`PacsError`, and :class:`ServiceError` once answers can no
    longer be trusted.
    """
    bundle = load_bundle(settings.bundle)
    client = open_pacs(url, settings.dicomweb_user, settings.dicomweb_password_file, settings)
    async with client as pacs, predicting(settings, bundle) as predictor:
        scheduler, health, registry = predictor.scheduler, predictor.health, CollectorRegistry()
        ProcessCollector(namespace="cin_pacs", registry=registry)
        watching = Watch(
            pacs,
            PredictedResults(predictor, kinds),
            Selection(modality, since),
            WatchMetrics(registry),
            every_seconds=every_seconds,
            in_flight=scheduler.threads + scheduler.max_batch,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.stopping.set)
        await health.check_canary()
        health.require_ready()
        canary = background.start(background.watch_canary(health, every_seconds=settings.canary_seconds), health)
        if settings.metrics_port is not None:
            serve_metrics(registry, settings.host, settings.metrics_port)
        log.info("%s watches for %s", scheduler.engine.variant.name, modality)
        try:
            complete = await (watching.once() if once else watching.run())
        finally:
            canary.cancel()
            log.info("end: %s", ", ".join(f"{watching.counts[outcome]} {outcome}" for outcome in OUTCOMES))
    return complete
