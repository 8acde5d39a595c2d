"""The manifest of a bundle: the schema of ``bundle.json`` and its consistency rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from service.bundle.abstention import Abstention, Quality
from service.bundle.base import BundleError, Interval, Probability, Record
from service.bundle.classes import DiagnosisClass
from service.bundle.drift_reference import Reference
from service.bundle.referral import NotSure

SCHEMA_VERSION = 7
MANIFEST_NAME = "bundle.json"
MODEL_CARD_NAME = "MODEL_CARD.md"
CANARY_PICTURE_NAME = "canary.jpg"
CANARY_OUTPUTS_NAME = "canary.npz"
FAMILIARITY_NAME = "familiarity.npz"

# The output from which the feature distance is computed.
FEATURES = "features"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TensorSpec(Record):
    """One input or output of the graph; a dimension is a size or a symbol such as ``batch``."""

    name: str = Field(description="in the graph")
    dtype: Literal["uint8", "float16", "float32"] = Field(description="of its elements")
    shape: list[int | str] = Field(description="sizes, outermost first")
    meaning: str = Field(description="what it holds, with units")


class CanaryClass(Record):
    """A class in the canary's prediction."""

    label: str = Field(description="its name for people")
    malignant: bool = Field(description="whether its probability counts for a referral")
    probability: Probability = Field(description="0 to 1")


class CanaryDecision(Record):
    """The decision at one operating point, ignoring the limits."""

    threshold: Probability = Field(description="refer from this malignant probability on")
    refer: bool = Field(description="whether a referral is advised")


class CanaryPrediction(Record):
    """The prediction that follows from the outputs for the canary."""

    classes: dict[str, CanaryClass] = Field(description="by class name")
    malignant_probability: Probability = Field(description="summed over the malignant classes")
    decisions: dict[str, CanaryDecision] = Field(description="by operating point")
    default_operating_point: str = Field(description="one of the decisions")
    quality: Quality | None = Field(description="null, as the limits, for a bundle without them")
    limits: dict[str, float] | None = Field(description="by name; null for a bundle without them")


class Variant(Record):
    """One ONNX file: the network at one precision, with the figures of the gate it passed."""

    name: Literal["fp32", "fp16", "int8"] = Field(description="precision")
    file: str = Field(description="the ONNX file in the bundle")
    description: str = Field(description="how it was made, in words")
    gate: dict[str, float | int | str | bool] = Field(description="what was compared with float32, and the results")
    canary_outputs: str | None = Field(None, description="file of its own answer to the canary; default: float32's")
    canary_tolerance: float | None = Field(None, gt=0, lt=1, description="as the canary's, for this variant")
    canary_prediction: CanaryPrediction | None = Field(None, description="since schema 5")


class OperatingPoint(Record):
    """Refer when the summed probability of the malignant classes is at least ``threshold``; also when ``not_sure``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$", examples=["balanced"], description="its name")
    threshold: float = Field(gt=0, lt=1, description="of the malignant probability")
    sensitivity: Interval = Field(description="share of the malignant images that are referred")
    specificity: Interval = Field(description="share of the benign images that are not")
    measured_on: str = Field(examples=["isic2017-test (600 images)"], description="set of both rates")
    chosen_on: str | None = Field(
        None,
        examples=["isic2017-validation (150 images)"],
        description="set that chose the threshold, when it is another one: the rates are then held-out figures; since "
        "schema 6",
    )


class Repeatability(Record):
    """How far the answers to two images of one lesion differ."""

    measured_on: str = Field(examples=["repeat_pairs (110 pairs)"], description="which pairs")
    num_pairs: int = Field(gt=0, description="pairs of which both images got advice")
    median_change: Probability = Field(description="of the malignant probability")
    percentile_95_change: Probability = Field(description="of the malignant probability")
    other_advice: Interval = Field(description="share of the pairs with a referral for one image only")
    near_threshold: float = Field(
        gt=0,
        le=10,
        description="log-odds: closer to a limit for a referral (threshold, or `not_sure`), a second image gets the "
        "other advice in at least one of five cases",
    )


class Robustness(Record):
    """How often the advice changes when an image changes and its lesion does not."""

    measured_on: str = Field(examples=["isic2017-validation (150 images)"], description="which images were changed")
    other_advice: dict[str, Interval] = Field(
        examples=[{"JPEG 60": {"value": 0.09, "low": 0.06, "high": 0.15}}],
        description="by the change, the share of images that get other advice or none",
    )


class OutsideAdvice(Record):
    """The advice on images that show none of the classes."""

    name: str = Field(examples=["bcc"], description="the diagnosis, or the kind of image")
    measured_on: str = Field(examples=["unknown_diagnoses, second half"], description="images that chose no limit")
    num_images: int = Field(gt=0, description="how many")
    referred: Interval = Field(description="share of them with a referral")
    not_referred: Interval = Field(description="share of them with advice, and without a referral")
    withheld: Interval = Field(description="share of them without advice")


class AttentionInfluence(Record):
    """What switching the lesion feature attention off changes: how much its maps say of an answer."""

    measured_on: str = Field(examples=["isic2017-validation (150 images)"], description="which images")
    num_images: int = Field(gt=0, description="how many")
    median_change: Probability = Field(description="of the malignant probability")
    percentile_95_change: Probability = Field(description="of the malignant probability")
    other_advice: Interval = Field(description="share of the images with the other advice, at the default point")
    row_spread: Probability = Field(
        description="how much what the correlation attention relates to a spot differs from spot to spot: mean total "
        "variation distance of its rows from their mean; 0: every spot has the same relations"
    )


class Provenance(Record):
    """Where the weights come from."""

    git_commit: str = Field(description="of the software that exported the bundle")
    created_at: datetime = Field(description="UTC")
    start: str = Field(description="the pre-trained weights that training started from")
    data: dict[str, str] = Field(description="name of each image set used -> SHA-256 of its prepared frames")
    seeds: list[int] = Field(description="of the trainings")
    config: dict[str, Any] = Field(description="the resolved training configuration, one entry per stage")
    metrics: dict[str, dict[str, float]] = Field(description="image set -> metric -> value")


class Canary(Record):
    """An image and the outputs that the float32 variant must give for it."""

    picture: str = Field(description="file in the bundle")
    outputs: str = Field(description="file in the bundle")
    tolerance: float = Field(gt=0, lt=1, description="largest absolute difference allowed in any probability")
    source: str = Field(description="where the image comes from, and its licence")


class Manifest(Record):
    """The contents of ``bundle.json``."""

    schema_version: Literal[1, 2, 3, 4, 5, 6, 7] = Field(description="of this file")
    name: str = Field(description="of the model")
    version: str = Field(description="of the model")
    classes: list[DiagnosisClass] = Field(min_length=2, description="in the order of the graph's probabilities")
    frame_size: int = Field(gt=0, description="F: side in pixels of the frame the graph takes")
    frame_jpeg_quality: int | None = Field(
        None, ge=1, le=95, description="the training images were JPEG of this quality at frame size"
    )
    network_size: int = Field(gt=0, description="S: side in pixels of what the two branches see")
    input: TensorSpec = Field(description="what the graphs take")
    outputs: list[TensorSpec] = Field(description="what the graphs give, in order")
    variants: list[Variant] = Field(min_length=1, description="the same network at different precisions")
    prevalence: dict[str, Probability] | None = Field(
        None, description="share of each class in the mix of lesions for which the probabilities hold"
    )
    temperature: list[PositiveFloat] = Field(description="softmax temperature of each branch, already inside the graph")
    operating_points: list[OperatingPoint] = Field(min_length=1, description="thresholds to choose from")
    default_operating_point: str = Field(description="used where none is chosen")
    reference: Reference | None = Field(None, description="what the drift of the probabilities is measured against")
    abstention: Abstention | None = Field(None, description="when an image gets no advice; none: every image does")
    not_sure: NotSure | None = Field(
        None, description="when a referral is advised because no class is likely enough; null: never; since schema 7"
    )
    repeatability: Repeatability | None = Field(None, description="null: not measured; since schema 6")
    robustness: Robustness | None = Field(None, description="null: not measured; since schema 7")
    outside: list[OutsideAdvice] | None = Field(None, description="null: not measured; since schema 7")
    attention_influence: AttentionInfluence | None = Field(None, description="null: not measured; since schema 7")
    provenance: Provenance = Field(description="how the weights came to be")
    licence: str = Field(description="of the weights")
    intended_use: str = Field(description="what the model is for, and what it is not for")
    canary: Canary = Field(description="an image with its known answer, for self-checks")
    files: dict[str, Sha256] = Field(description="every other file of the bundle -> its SHA-256")

    @model_validator(mode="after")
    def _is_consistent(self) -> Manifest:
        named = {MODEL_CARD_NAME, self.canary.picture, self.canary.outputs, *(v.file for v in self.variants)}
        named |= {v.canary_outputs for v in self.variants if v.canary_outputs is not None}
        if self.abstention is not None:
            named.add(self.abstention.familiarity)
            if FEATURES not in [output.name for output in self.outputs]:
                raise ValueError(f"abstention needs the output {FEATURES}")
        if missing := named - set(self.files):
            raise ValueError(f"files without a SHA-256: {', '.join(sorted(missing))}")
        if bad := [f for f in self.files if f != Path(f).name or f in (MANIFEST_NAME, ".", "..")]:
            raise ValueError(f"not plain file names: {bad}")
        if self.default_operating_point not in [p.name for p in self.operating_points]:
            raise ValueError(f"unknown default operating point {self.default_operating_point!r}")
        if not any(c.malignant for c in self.classes):
            raise ValueError("no class is marked malignant, so no referral could ever be advised")
        if all(c.role != "benign" for c in self.classes):
            raise ValueError("no class is marked benign, so a referral would always be advised")
        names: dict[str, Sequence[str]] = {
            "classes": [c.name for c in self.classes],
            "operating points": [p.name for p in self.operating_points],
            "variants": [v.name for v in self.variants],
        }
        for kind, given in names.items():
            if len(set(given)) != len(given):
                raise ValueError(f"two {kind} share a name")
        if self.reference is not None and list(self.reference.probabilities) != names["classes"]:
            raise ValueError("the reference is not about the same classes")
        if self.prevalence is not None and set(self.prevalence) != set(names["classes"]):
            raise ValueError("the prevalence is not about the same classes")
        if self.prevalence is not None and not math.isclose(sum(self.prevalence.values()), 1.0, abs_tol=0.01):
            raise ValueError("the prevalences do not sum to 1")
        for output in self.outputs:
            if output.name == "probabilities" and output.shape[1:] != [len(self.classes)]:
                raise ValueError(f"the graphs have probabilities of shape {output.shape}, not of these classes")
        self._check_rates()
        return self

    def _check_rates(self) -> None:
        """Raise ``ValueError`` unless sensitivity falls and specificity rises with the threshold."""
        by_threshold = sorted(self.operating_points, key=lambda point: point.threshold)
        for low, high in itertools.pairwise(by_threshold):
            if low.measured_on == high.measured_on and not (
                low.sensitivity.value >= high.sensitivity.value and low.specificity.value <= high.specificity.value
            ):
                raise ValueError(
                    f"operating points {low.name} and {high.name} contradict each other: the higher threshold has the "
                    "higher sensitivity or the lower specificity"
                )

    @property
    def malignant_prevalence(self) -> float | None:
        """The share of malignant lesions that the probabilities are calibrated for; None when the bundle has none."""
        if self.prevalence is None:
            return None
        return sum(self.prevalence[c.name] for c in self.classes if c.malignant)

    def operating_point(self, name: str | None = None) -> OperatingPoint:
        """The operating point called ``name`` (default: the bundle's default). Raises :class:`BundleError`."""
        wanted = name or self.default_operating_point
        for point in self.operating_points:
            if point.name == wanted:
                return point
        known = ", ".join(p.name for p in self.operating_points)
        raise BundleError(f"the bundle has no operating point {wanted!r}; it has: {known}")
