"""Metrics of the loop between a PACS and the network."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.metrics import SECONDS

# ``present``: an instance that had its results already.
Outcome = Literal["stored", "present", "failed", "skipped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class WatchMetrics:
    """Metrics under ``cin_pacs_``, in a registry that may have others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.instances = Counter(
            "cin_pacs_instances", "Instances of the PACS by what became of them", ["outcome"], registry=registry
        )
        self.seconds = Histogram(
            "cin_pacs_instance_duration_seconds",
            "Time from the first question about an instance to its stored results",
            ["outcome"],
            buckets=SECONDS,
            registry=registry,
        )
        self.reachable = Gauge("cin_pacs_reachable", "1 while the PACS answers searches", registry=registry)
        self.last_pass = Gauge(
            "cin_pacs_last_pass_timestamp_seconds", "When the last complete pass ended", registry=registry
        )
        for outcome in OUTCOMES:
            self.instances.labels(outcome)
        for outcome in ("stored", "present"):
            self.seconds.labels(outcome)
