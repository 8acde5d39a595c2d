"""Metrics of predictions: their distribution, for drift, and how often advice is given or withheld."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.bundle import Manifest
from service.bundle.abstention import ABSTAINS
from service.bundle.drift_reference import PROBABILITY_EDGES
from service.inference.answers import Answer
from service.prediction.decision import REASONS, Status
from service.prediction.schemas import Prediction

SHARES = PROBABILITY_EDGES[1:]
COLOURS = (3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
DISTANCES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 5.0)
ADVICE = {True: "refer", False: "no_referral", None: "none"}


class PredictionMetrics:
    """Counters and histograms in the registry of :class:`service.metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry, manifest: Manifest) -> None:
        """Every series exists from the start, so that it can be watched before its first event."""

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"cin_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"cin_{name}", meaning, labels, buckets=buckets, registry=registry)

        self._predictions = counter("predictions", "Predictions made", "diagnosis")
        self._probability = histogram("probability", "Probability of each class", SHARES, "diagnosis")
        self._disagreement = histogram(
            "branch_disagreement", "Total variation distance of the branches' probabilities", SHARES
        )
        self._decisions = counter(
            "decisions", "Predictions by advice and whether to look twice", "operating_point", "advice", "status"
        )
        self._cautions = counter("cautions", "Reasons to look twice", "reason")
        self._abstentions = counter("abstentions", "Reasons for which nothing was advised", "reason")
        self._quality = {
            "sharpness": histogram("sharpness", "Change between pixels, as a share of that over four", SHARES),
            "dark_share": histogram("dark_share", "Share of the picture that is dark", SHARES),
            "bright_share": histogram("bright_share", "Share of the picture that is nearly white", SHARES),
            "colour": histogram("colour", "Largest channel less the smallest, on average of 255", COLOURS),
            "unfamiliarity": histogram("unfamiliarity", "Distance from the training pictures", DISTANCES),
        }
        self._crop_area = histogram("crop_area", "Share of the picture inside the crop box", SHARES)
        self._lesion_fraction = histogram("lesion_fraction", "Share of the picture that is lesion", SHARES)
        for diagnosis in manifest.classes:
            self._predictions.labels(diagnosis.name)
            self._probability.labels(diagnosis.name)
        for point in manifest.operating_points:
            for advice, status in itertools.product(ADVICE.values(), get_args(Status)):
                self._decisions.labels(point.name, advice, status)
        for reason in REASONS:
            self._cautions.labels(reason)
        for abstains in ABSTAINS:
            self._abstentions.labels(abstains)
        reference = Gauge(
            "cin_probability_reference",
            "The bundle's share of pictures with a probability above one edge and at most the other",
            ("diagnosis", "over", "le"),
            registry=registry,
        )
        for name, expected in ({} if manifest.reference is None else manifest.reference.probabilities).items():
            for (over, to), share in zip(itertools.pairwise(expected.edges), expected.shares, strict=True):
                reference.labels(name, str(over), str(to)).set(share)

    def observe(self, answer: Answer, prediction: Prediction) -> None:
        """Count one prediction."""
        self._predictions.labels(prediction.diagnosis).inc()
        for name, probability in prediction.probabilities.items():
            self._probability.labels(name).observe(probability)
        decision = prediction.decision
        self._decisions.labels(decision.operating_point, ADVICE[decision.refer], decision.status).inc()
        for reason in decision.reasons:
            self._cautions.labels(reason).inc()
        for reason in decision.abstained_because:
            self._abstentions.labels(reason).inc()
        if prediction.quality is not None:
            for name, value in prediction.quality:
                self._quality[name].observe(value)
        first, second = answer.branch_probabilities
        self._disagreement.observe(float(0.5 * np.abs(first - second).sum()))
        self._lesion_fraction.observe(answer.lesion_fraction)
        x0, y0, x1, y1 = answer.crop_box.tolist()
        self._crop_area.observe((x1 - x0) * (y1 - y0))
