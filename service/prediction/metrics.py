"""Metrics of predictions: their distribution, to detect drift, and how often advice is given or withheld."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np

from service.bundle import Bundle
from service.bundle.abstention import ABSTAINS
from service.bundle.drift_reference import PROBABILITY_EDGES
from service.inference.answers import Answer
from service.inference.sessions import Provider
from service.ledger.entries import Feedback, Opinion
from service.metrics import Metrics
from service.prediction.decision import REASONS, Status
from service.prediction.schemas import Prediction

SHARES = PROBABILITY_EDGES[1:]
COLOURS = (3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
DISTANCES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 5.0)
ADVICE = {True: "refer", False: "no_referral", None: "none"}
HISTOLOGY = {True: "malignant", False: "benign", None: "none"}


class PredictionMetrics(Metrics):
    """The service's metrics, with those of its predictions."""

    def __init__(self) -> None:
        super().__init__()
        self._predictions = self._counter("predictions", "Predictions made", "diagnosis")
        self._probability = self._histogram("probability", "Probability of each class", SHARES, "diagnosis")
        self._disagreement = self._histogram(
            "branch_disagreement", "Total variation distance of the branches' probabilities", SHARES
        )
        self._decisions = self._counter(
            "decisions", "Predictions by advice and whether to look twice", "operating_point", "advice", "status"
        )
        self._cautions = self._counter("cautions", "Reasons to look twice", "reason")
        self._abstentions = self._counter("abstentions", "Reasons for which nothing was advised", "reason")
        quality = {
            "sharpness": ("Change between pixels, as a share of that over four", SHARES),
            "dark_share": ("Share of the image that is dark", SHARES),
            "bright_share": ("Share of the image that is nearly white", SHARES),
            "colour": ("Largest channel less the smallest, on average of 255", COLOURS),
            "unfamiliarity": ("Distance from the training images", DISTANCES),
        }
        self._quality = {name: self._histogram(name, *described) for name, described in quality.items()}
        self._crop_area = self._histogram("crop_area", "Share of the image inside the crop box", SHARES)
        self._lesion_fraction = self._histogram("lesion_fraction", "Share of the image that is lesion", SHARES)
        self._reference = self._gauge(
            "probability_reference",
            "The bundle's share of images with a probability above one edge and at most the other",
            *("diagnosis", "over", "le"),
        )
        self._feedback = self._counter(
            "feedback",
            "Feedback of clinicians, by the advice, their opinion and histology",
            "advice",
            "opinion",
            "histology",
        )
        # Series that exist from the start can be queried before their first event.
        for labels in itertools.product(ADVICE.values(), (*get_args(Opinion), "none"), HISTOLOGY.values()):
            self._feedback.labels(*labels)
        for reason in REASONS:
            self._cautions.labels(reason)
        for abstains in ABSTAINS:
            self._abstentions.labels(abstains)

    def describe_model(self, bundle: Bundle, *, variant: str, provider: Provider) -> None:
        """Set the model's labels, and create the series of its classes and operating points."""
        super().describe_model(bundle, variant=variant, provider=provider)
        manifest = bundle.manifest
        self._predictions.labels("none")  # without advice
        for diagnosis in manifest.classes:
            self._predictions.labels(diagnosis.name)
            self._probability.labels(diagnosis.name)
        for point in manifest.operating_points:
            for advice, status in itertools.product(ADVICE.values(), get_args(Status)):
                self._decisions.labels(point.name, advice, status)
        for name, expected in ({} if manifest.reference is None else manifest.reference.probabilities).items():
            for (over, to), share in zip(itertools.pairwise(expected.edges), expected.shares, strict=True):
                self._reference.labels(name, str(over), str(to)).set(share)

    def observe_feedback(self, refer: bool | None, feedback: Feedback) -> None:
        """Count what a clinician said of an answer."""
        histology = HISTOLOGY[feedback.histology_malignant]
        self._feedback.labels(ADVICE[refer], feedback.opinion or "none", histology).inc()

    def observe(self, answer: Answer, prediction: Prediction) -> None:
        """Count one prediction."""
        withheld = prediction.decision.status == "abstained"
        self._predictions.labels("none" if withheld or prediction.diagnosis is None else prediction.diagnosis).inc()
        for name, probability in (prediction.probabilities or {}).items():
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
