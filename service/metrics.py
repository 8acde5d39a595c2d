"""Prometheus metrics, all under ``cin_``; every label takes values from a closed set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from service.bundle import Bundle
from service.engine import Answer, Provider

Stage = Literal["decode", "queue", "inference", "render"]

# The default buckets are too coarse around what one picture takes.
SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SHARES = tuple(i / 20 for i in range(1, 20))


class Metrics:
    """The service's metrics in a registry of their own."""

    def __init__(self, bundle: Bundle, *, variant: str, provider: Provider) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("cin_requests", "Requests answered", ["route", "method", "status"], registry=registry)
        self.latency = Histogram(
            "cin_request_duration_seconds",
            "Time to answer a request",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("cin_requests_in_flight", "Requests being answered now", registry=registry)
        self.stages = Histogram(
            "cin_stage_duration_seconds", "Time in each stage", ["stage"], buckets=SECONDS, registry=registry
        )
        self.queue_depth = Gauge("cin_queue_depth", "Pictures waiting for the network", registry=registry)
        self.batch_size = Histogram(
            "cin_batch_size", "Pictures run together", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.rejected = Counter("cin_rejected", "Requests refused, by problem type", ["reason"], registry=registry)
        self.predictions = Counter("cin_predictions", "Predictions made", ["diagnosis"], registry=registry)
        self.probability = Histogram(
            "cin_probability",
            "Summed probability of each class",
            ["diagnosis"],
            buckets=SHARES,
            registry=registry,
        )
        self.lesion_fraction = Histogram(
            "cin_lesion_fraction", "Share of the picture that is lesion", buckets=SHARES, registry=registry
        )
        self.inference_errors = Counter("cin_inference_errors", "Batches that failed", registry=registry)
        self.ready = Gauge("cin_ready", "1 while requests are taken", registry=registry)
        self.canary_ok = Gauge("cin_canary_ok", "1 while the known picture gets its known answer", registry=registry)
        self.canary_difference = Gauge(
            "cin_canary_max_difference",
            "Largest probability difference of the known picture",
            registry=registry,
        )
        manifest = bundle.manifest
        model = Gauge("cin_model_info", "The model in use", ["name", "version", "sha256", "variant"], registry=registry)
        model.labels(manifest.name, manifest.version, bundle.sha256, variant).set(1)
        active = Gauge("cin_provider_active", "1 for the execution provider in use", ["provider"], registry=registry)
        for name in ("cpu", "cuda"):
            active.labels(name).set(name == provider)
        # Series that exist from the start can be watched before their first event.
        for diagnosis in manifest.classes:
            self.predictions.labels(diagnosis.name)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Observe how long a stage takes, also when it fails."""
        began = perf_counter()
        try:
            yield
        finally:
            self.stages.labels(stage).observe(perf_counter() - began)

    def observe_prediction(self, diagnosis: str, answer: Answer, classes: list[str]) -> None:
        """Count one prediction."""
        self.predictions.labels(diagnosis).inc()
        self.lesion_fraction.observe(answer.lesion_fraction)
        for name, probability in zip(classes, answer.probabilities, strict=True):
            self.probability.labels(name).observe(float(probability))

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
