"""Metrics of jobs: what Redis keeps, and what became of their images."""

from __future__ import annotations

import asyncio
import logging
import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.jobs.book import Counts
from service.jobs.job import JobsError
from service.jobs.store import JobStore
from service.prediction.metrics import PredictionMetrics

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0


class JobMetrics:
    """Metrics under ``cin_jobs``, in a registry that has others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=registry)

        self._reachable = gauge(
            "cin_jobs_reachable", "1 while the Redis of jobs answers, and loses none of them; NaN: there are no jobs"
        )
        # Not known before it is asked, which it never is where there are no jobs: 0 would alert.
        self._reachable.set(math.nan)
        self._counts = Counts(
            gauge("cin_jobs", "Jobs that are kept, with those that are done"),
            gauge("cin_jobs_pictures", "Images of jobs without a result"),
            gauge("cin_jobs_bytes", "Bytes of all jobs: images, and room for answers"),
            gauge("cin_jobs_oldest_waiting_seconds", "Age of the oldest job that is not done"),
            gauge("cin_jobs_idle_seconds", "Time since an image was begun, while one waits"),
        )
        self.pictures = Counter(
            "cin_jobs_pictures_finished", "Images of jobs by what became of them", ["outcome"], registry=registry
        )
        self.webhooks = Counter(
            "cin_jobs_webhooks", "Tries to announce the end of a job", ["outcome"], registry=registry
        )
        for outcome in ("answered", "failed"):
            self.pictures.labels(outcome)
        for outcome in ("delivered", "failed", "given_up"):
            self.webhooks.labels(outcome)

    def show(self, counts: Counts[int] | None) -> None:
        """Set the gauges; None: Redis cannot be used."""
        self._reachable.set(counts is not None)
        for gauge, count in zip(self._counts, counts or (), strict=False):
            gauge.set(count)


class ServiceMetrics(PredictionMetrics):
    """The service's metrics, with those of its predictions and of its jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = JobMetrics(self.registry)


async def watch(store: JobStore, metrics: JobMetrics) -> None:
    """Count what is kept, again and again; and have what was erased leave the disk, also where no worker runs."""
    logged = ""
    while True:
        counts, trouble = None, ""
        try:
            await store.require_durable()
            counts = await store.count()
            await store.rewrite()
        except JobsError as error:
            trouble = str(error)
        if trouble and trouble != logged:
            log.error("%s", trouble)
        logged = trouble
        metrics.show(counts)
        await asyncio.sleep(_EVERY_SECONDS)
