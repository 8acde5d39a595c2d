"""Prometheus metrics, all under ``cin_``; every label takes values from a closed set."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal, get_args

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from service.bundle import Bundle
from service.bundle.abstention import ABSTAINS
from service.bundle.drift_reference import PROBABILITY_EDGES
from service.inference.answers import Answer
from service.inference.sessions import Provider
from service.prediction.decision import REASONS, Status
from service.prediction.schemas import Findings
from service.problems import PROBLEM_TYPES
from service.server.connections import Closed

Stage = Literal["decode", "queue", "inference", "render"]

# The default buckets are too coarse around what one picture takes.
SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SHARES = PROBABILITY_EDGES[1:]
COLOURS = (3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
DISTANCES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 5.0)
ADVICE = {True: "refer", False: "no_referral", None: "none"}
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
        self.queue_depth = self._gauge("queue_depth", "Pictures waiting for the network")
        self.places = self._gauge("queue_places", "Most pictures taken on at once")
        self.places_taken = self._gauge("queue_places_taken", "Pictures taken on now, from decoding to answer")
        self.batch_size = self._histogram("batch_size", "Pictures run together", BATCHES)
        self.rejected = self._counter("rejected", "Requests refused, by problem type", "reason")
        self.closed = self._counter("connections_closed", "Connections closed on their client, by reason", "reason")
        self.inference_errors = self._counter("inference_errors", "Pictures that the network failed on")
        self.predictions = self._counter("predictions", "Predictions made", "diagnosis")
        self.probability = self._histogram("probability", "Probability of each class", SHARES, "diagnosis")
        self.reference = self._gauge(
            "probability_reference",
            "The bundle's share of pictures with a probability above one edge and at most the other",
            "diagnosis",
            "over",
            "le",
        )
        self.disagreement = self._histogram(
            "branch_disagreement", "Total variation distance of the branches' probabilities", SHARES
        )
        self.decisions = self._counter(
            "decisions", "Predictions by advice and whether to look twice", "operating_point", "advice", "status"
        )
        self.cautions = self._counter("cautions", "Reasons to look twice", "reason")
        self.abstentions = self._counter("abstentions", "Reasons for which nothing was advised", "reason")
        self.quality = {
            "sharpness": self._histogram("sharpness", "Change between pixels, as a share of that over four", SHARES),
            "dark_share": self._histogram("dark_share", "Share of the picture that is dark", SHARES),
            "bright_share": self._histogram("bright_share", "Share of the picture that is nearly white", SHARES),
            "colour": self._histogram("colour", "Largest channel less the smallest, on average of 255", COLOURS),
            "unfamiliarity": self._histogram("unfamiliarity", "Distance from the training pictures", DISTANCES),
        }
        self.crop_area = self._histogram("crop_area", "Share of the picture inside the crop box", SHARES)
        self.lesion_fraction = self._histogram("lesion_fraction", "Share of the picture that is lesion", SHARES)
        self.ready = self._gauge("ready", "1 while requests are taken")
        self.canary_ok = self._gauge("canary_ok", "1 while the known picture gets its known answer")
        self.canary_difference = self._gauge(
            "canary_max_difference", "Largest probability difference for the known picture"
        )
        self.model = self._gauge("model_info", "The model in use", "name", "version", "sha256", "variant", "provider")
        self.provider = self._gauge("provider_active", "1 for the execution provider in use", "provider")
        self.gpu_expected = self._gauge("gpu_expected", "1 where a GPU was asked for, or is there and may be used")
        self.audit_chain_ok = self._gauge("audit_chain_ok", "1 while the audit log is as it was written, and can be")
        self.audit_entries = self._counter("audit_entries", "Entries of the audit log", "outcome")
        self.audit_free_bytes = self._gauge("audit_free_bytes", "Room left for the audit log; NaN where there is none")
        self.audit_free_bytes.set(math.nan)
        self.purged = self._counter("purged", "Kept predictions that went by themselves", "reason")
        # Series that exist from the start can be watched before their first event.
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
        for closed in get_args(Closed):
            self.closed.labels(closed)
        for reason in REASONS:
            self.cautions.labels(reason)
        for abstains in ABSTAINS:
            self.abstentions.labels(abstains)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"cin_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"cin_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"cin_{name}", meaning, labels, buckets=buckets, registry=self.registry)

    def describe_model(self, bundle: Bundle, *, variant: str, provider: Provider) -> None:
        """Say which model runs on what."""
        manifest = bundle.manifest
        self.model.labels(manifest.name, manifest.version, bundle.sha256, variant, provider).set(1)
        for name in get_args(Provider):
            self.provider.labels(name).set(name == provider)
        for diagnosis in manifest.classes:
            self.predictions.labels(diagnosis.name)
            self.probability.labels(diagnosis.name)
        for point in manifest.operating_points:
            for advice, status in itertools.product(ADVICE.values(), get_args(Status)):
                self.decisions.labels(point.name, advice, status)
        reference = {} if manifest.reference is None else manifest.reference.probabilities
        for name, histogram in reference.items():
            for (over, to), share in zip(itertools.pairwise(histogram.edges), histogram.shares, strict=True):
                self.reference.labels(name, str(over), str(to)).set(share)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Observe how long a stage takes, also when it fails."""
        began = perf_counter()
        try:
            yield
        finally:
            self.stages.labels(stage).observe(perf_counter() - began)

    def observe_prediction(self, answer: Answer, findings: Findings) -> None:
        """Count one prediction."""
        self.predictions.labels(findings.diagnosis).inc()
        for name, probability in findings.probabilities.items():
            self.probability.labels(name).observe(probability)
        decision = findings.decision
        self.decisions.labels(decision.operating_point, ADVICE[decision.refer], decision.status).inc()
        for reason in decision.reasons:
            self.cautions.labels(reason).inc()
        for reason in decision.abstained_because:
            self.abstentions.labels(reason).inc()
        if findings.quality is not None:
            for name, value in findings.quality:
                self.quality[name].observe(value)
        first, second = answer.branch_probabilities
        self.disagreement.observe(float(0.5 * np.abs(first - second).sum()))
        self.lesion_fraction.observe(answer.lesion_fraction)
        x0, y0, x1, y1 = answer.crop_box.tolist()
        self.crop_area.observe((x1 - x0) * (y1 - y0))

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
