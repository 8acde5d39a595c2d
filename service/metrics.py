"""Prometheus metrics, all under ``cin_``; every label takes values from a closed set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from service.bundle import Bundle
from service.imaging.decoder import Replaced
from service.inference.sessions import Provider
from service.problems import PROBLEM_TYPES
from service.server.connections import Closed

Stage = Literal["decode", "queue", "inference", "render", "dicom"]

# The default buckets are too coarse around the time that one image takes.
SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The service's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace="cin", registry=self.registry)
        self.requests = self._counter("requests", "Requests answered", "route", "method", "status")
        self.latency = self._histogram("request_duration_seconds", "Time to answer a request", SECONDS, "route")
        self.in_flight = self._gauge("requests_in_flight", "Requests being answered now")
        self.stages = self._histogram("stage_duration_seconds", "Time in each stage", SECONDS, "stage")
        self.queue_depth = self._gauge("queue_depth", "Images waiting for the network")
        self.slots = self._gauge("queue_places", "Slots: most images in flight at once")
        self.slots_taken = self._gauge("queue_places_taken", "Slots taken: images in flight, from decoding to answer")
        self.batch_size = self._histogram("batch_size", "Images run together", BATCHES)
        self.rejected = self._counter("rejected", "Requests refused, by problem type", "reason")
        self.closed = self._counter("connections_closed", "Connections closed on their client, by reason", "reason")
        self.decoders_replaced = self._counter("decoders_replaced", "Decoder processes replaced, by reason", "reason")
        self.decoder_forks_failed = self._counter("decoder_forks_failed", "Decoder processes that could not be started")
        self.inference_errors = self._counter("inference_errors", "Images that the network failed on")
        self.ready = self._gauge("ready", "1 while requests are taken")
        self.canary_ok = self._gauge("canary_ok", "1 while the known image gets its known answer")
        self.canary_difference = self._gauge(
            "canary_max_difference", "Largest probability difference for the known image"
        )
        self.model = self._gauge("model_info", "The model in use", "name", "version", "sha256", "variant", "provider")
        self.provider = self._gauge("provider_active", "1 for the execution provider in use", "provider")
        self.gpu_expected = self._gauge("gpu_expected", "1 where a GPU was asked for, or is there and may be used")
        self.audit_chain_ok = self._gauge("audit_chain_ok", "1 while the audit log is as it was written, and can be")
        self.audit_entries = self._counter("audit_entries", "Entries of the audit log", "outcome")
        self.audit_free_bytes = self._gauge("audit_free_bytes", "Room left for the audit log; NaN where there is none")
        self.audit_free_bytes.set(math.nan)
        self.ledger_ok = self._gauge("ledger_ok", "1 while the ledger can be written; NaN where there is none")
        self.ledger_ok.set(math.nan)
        self.purged = self._counter("purged", "Kept predictions that went by themselves", "reason")
        # Series that exist from the start can be queried before their first event.
        for stage in get_args(Stage):
            self.stages.labels(stage)
        for problem in PROBLEM_TYPES:
            self.rejected.labels(problem.name)
        for status in (200, *(problem.status for problem in PROBLEM_TYPES if problem.status >= 500)):
            self.requests.labels("/predict", "POST", str(status))
        self.latency.labels("/predict")
        for outcome in ("written", "refused"):
            self.audit_entries.labels(outcome)
        for cause in ("expired", "room"):
            self.purged.labels(cause)
        for replaced in get_args(Replaced):
            self.decoders_replaced.labels(replaced)
        for closed in get_args(Closed):
            self.closed.labels(closed)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"cin_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"cin_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"cin_{name}", meaning, labels, buckets=buckets, registry=self.registry)

    def describe_model(self, bundle: Bundle, *, variant: str, provider: Provider) -> None:
        """Set the labels that name the model and where it runs."""
        manifest = bundle.manifest
        self.model.labels(manifest.name, manifest.version, bundle.sha256, variant, provider).set(1)
        for name in get_args(Provider):
            self.provider.labels(name).set(name == provider)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Observe the duration of a stage, also when it fails."""
        began = perf_counter()
        try:
            yield
        finally:
            self.stages.labels(stage).observe(perf_counter() - began)

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
