"""The bodies of the service's answers, as they appear in the OpenAPI schema."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.bundle import Manifest, OperatingPoint
from service.bundle.base import Interval
from service.imaging import NOTES, Note
from service.ledger.entries import FollowUp
from service.prediction.decision import REASONS, Reason, Status
from service.problems import Problem

AbstainChoice = Literal["on", "caution", "off"]
Abstains = Literal[AbstainChoice, "no limits"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

# Marks names from the bundle; the served schema lists them as components (``api/openapi.py``).
COMPONENT = "x-component"
DiagnosisName = Annotated[str, WithJsonSchema({"type": "string", COMPONENT: "Diagnosis"})]
OperatingPointName = Annotated[str, WithJsonSchema({"type": "string", COMPONENT: "OperatingPointName"})]

NOTICE = "Research software, not a medical device. The attention maps are no evidence that the answer is right."


class Body(BaseModel):
    """A part of an answer; no unknown fields, all numbers finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class BranchProbabilities(Body):
    """One branch's calibrated probabilities."""

    probabilities: dict[str, Share] = Field(description="by class, each 0 to 1; sums to 1")


class Performance(Body):
    """The measured rates of an operating point on images of known diagnosis; they hold at any prevalence."""

    sensitivity: Interval = Field(description="share of its malignant images that are referred")
    specificity: Interval = Field(description="share of its benign images that are not")
    measured_on: str = Field(description="which images", examples=["isic2017-test (600 images)"])
    held_out: bool = Field(description="false: the threshold was chosen on the same images, so the rates flatter")

    @classmethod
    def of(cls, point: OperatingPoint) -> Self:
        """The rates of an operating point."""
        return cls(
            sensitivity=point.sensitivity,
            specificity=point.specificity,
            measured_on=point.measured_on,
            held_out=point.chosen_on is not None,
        )


class DecisionBody(Body):
    """Refer or not: whether the malignant classes' probability reaches the threshold, or no class is likely enough."""

    operating_point: OperatingPointName = Field(description="its name")
    # Predictions that an earlier version kept have none.
    performance: Performance | None = Field(None, description="of the operating point; null: not known")
    prevalence: Share | None = Field(
        description="share of malignant lesions, 0 to 1, for which all probabilities and the threshold hold; null: the "
        "model does not say"
    )
    malignant_probability: Share | None = Field(
        description="summed over the malignant classes, 0 to 1; null when nothing is advised"
    )
    threshold: Share = Field(
        description="refer from this malignant probability on, 0 to 1; below it too where `reasons` has `not_sure`"
    )
    refer: bool | None = Field(description="whether a referral is advised; null when nothing is advised")
    status: Status = Field(
        description="`caution`: there are reasons to look twice; `abstained`: the image is not fit for advice, and "
        "nothing is advised"
    )
    reasons: list[Reason] = Field(description="; ".join(f"`{name}`: {text}" for name, text in REASONS.items()))
    abstained_because: list[Reason] = Field(description="those of the reasons for which nothing is advised")
    abstains: Abstains = Field(description="`CIN_ABSTAIN` as it was, or that the model has no limits to abstain at")


class QualityBody(Body):
    """How the image compares with those that the network learned from; the limits are the model's `abstention`."""

    sharpness: float = Field(ge=0.0, description="change between neighbouring pixels, as a share of that over four")
    dark_share: Share = Field(description="share of dark pixels")
    bright_share: Share = Field(description="share of nearly white pixels")
    colour: float = Field(ge=0.0, le=255.0, description="a pixel's largest channel less its smallest, on average")
    unfamiliarity: float = Field(
        ge=0.0, description="distance from dermoscopy, or likeness to clinical photographs if larger; 1 is typical"
    )


class CropBox(Body):
    """Pixels of the upright image; x1 and y1 are the first pixels outside."""

    x0: int = Field(ge=0, description="left, px")
    y0: int = Field(ge=0, description="top, px")
    x1: int = Field(gt=0, description="right, px")
    y1: int = Field(gt=0, description="bottom, px")


class Lesion(Body):
    """Where the network looked."""

    found: bool = Field(description="false: no lesion was found and the whole image was used")
    fraction: Share = Field(description="the lesion's share of the image, 0 to 1")
    crop_box: CropBox = Field(description="what the first branch was shown; the second one may see the whole image")


class ImageBody(Body):
    """What was sent; width and height are upright."""

    width: int = Field(gt=0, description="px, upright")
    height: int = Field(gt=0, description="px, upright")
    format: str = Field(description="by content", examples=["JPEG"])
    sha256: str = Field(description="of the bytes that were sent, in hexadecimal")
    # Predictions that an earlier version kept have none.
    notes: list[Note] = Field([], description="; ".join(f"`{name}`: {text}" for name, text in NOTES.items()))
    millimetres_per_pixel: float | None = Field(
        None, gt=0, description="a pixel's side, mm, as a DICOM file states it (PixelSpacing); null: not known"
    )


class AttentionLinks(Body):
    """Where the overlays are; null for a map that this model does not have."""

    lesion: str = Field(description="where the lesion is, 0 to 1")
    spatial: str | None = Field(description="which parts of the crop weigh more than average")
    correlation: str | None = Field(description="which parts of the crop are related to each other")


class ModelBody(Body):
    """Which model answered, on what."""

    name: str = Field(description="the model's name", examples=["cin-isic2017"])
    version: str = Field(description="the model's version", examples=["2.1.0"])
    sha256: str = Field(description="of the bundle's manifest, which fixes every file; in hexadecimal")
    variant: str = Field(description="precision", examples=["fp32"])
    provider: str = Field(description="processor", examples=["cpu"])


class Timings(Body):
    """Milliseconds."""

    decode: float = Field(ge=0, description="ms to read the image")
    queue: float = Field(ge=0, description="ms of waiting for the network")
    inference: float = Field(ge=0, description="ms in the network")
    total: float = Field(ge=0, description="ms from the request to its answer")


_ROUNDING = 0.005  # of the probabilities in an answer, and of their sum

EXAMPLE: dict[str, Any] = {
    "id": "6d1f0b3c9a524e7f8b2d4c6e8fa01b23",
    "created_at": "2026-01-01T12:00:00Z",
    "expires_at": "2026-01-01T13:00:00Z",
    "diagnosis": "melanoma",
    "probabilities": {"melanoma": 0.71, "seborrheic_keratosis": 0.05, "nevus": 0.24},
    "branches": [
        {"probabilities": {"melanoma": 0.68, "seborrheic_keratosis": 0.06, "nevus": 0.26}},
        {"probabilities": {"melanoma": 0.74, "seborrheic_keratosis": 0.04, "nevus": 0.22}},
    ],
    "decision": {
        "operating_point": "balanced",
        "performance": {
            "sensitivity": {"value": 0.85, "low": 0.78, "high": 0.91},
            "specificity": {"value": 0.63, "low": 0.59, "high": 0.67},
            "measured_on": "isic2017-test (600 images)",
            "held_out": True,
        },
        "prevalence": 0.187,
        "malignant_probability": 0.71,
        "threshold": 0.42,
        "refer": True,
        "status": "caution",
        "reasons": ["lesion_touches_border"],
        "abstained_because": [],
        "abstains": "on",
    },
    "lesion": {"found": True, "fraction": 0.31, "crop_box": {"x0": 112, "y0": 80, "x1": 903, "y1": 768}},
    "quality": {"sharpness": 0.44, "dark_share": 0.08, "bright_share": 0.01, "colour": 41.5, "unfamiliarity": 0.97},
    "image": {"width": 1024, "height": 768, "format": "DICOM", "sha256": "0" * 64, "notes": []}
    | {"millimetres_per_pixel": 0.02},
    "attention": {
        "lesion": "/v1/predictions/6d1f0b3c9a524e7f8b2d4c6e8fa01b23/maps/lesion",
        "spatial": "/v1/predictions/6d1f0b3c9a524e7f8b2d4c6e8fa01b23/maps/spatial",
        "correlation": "/v1/predictions/6d1f0b3c9a524e7f8b2d4c6e8fa01b23/maps/correlation",
    },
    "model": {"name": "cin-isic2017", "version": "2.1.0", "sha256": "0" * 64, "variant": "fp32", "provider": "cuda"},
    "follow_up": {"lesion": "L-0012", "visit": "2026-01-01"},
    "timings_ms": {"decode": 5.1, "queue": 0.1, "inference": 9.8, "total": 15.6},
    "notice": NOTICE,
}


class Prediction(Body):
    """The answer to one image: the advice, and the network's outputs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    id: str = Field(pattern="^[0-9a-f]{32}$", description="names the prediction in addresses")
    created_at: datetime = Field(description="UTC")
    expires_at: datetime | None = Field(description="UTC; deleted from then on. null: it is not kept")
    decision: DecisionBody = Field(description="read this first")
    diagnosis: DiagnosisName | None = Field(
        description="the class of highest probability. It may be benign where a referral is advised: do not decide by "
        "it. null when nothing is advised"
    )
    probabilities: dict[str, Share] | None = Field(
        description="by class, each 0 to 1, mean of the two branches; sums to 1. null when nothing is advised"
    )
    branches: Annotated[list[BranchProbabilities], Field(min_length=2, max_length=2)] | None = Field(
        description="what each of the two branches says; null when nothing is advised"
    )
    lesion: Lesion = Field(description="where the network looked")
    quality: QualityBody | None = Field(description="null when the model has no limits, or they are not asked for")
    image: ImageBody = Field(description="what was sent")
    model: ModelBody = Field(description="which model answered")
    # Predictions that an earlier version kept have none.
    follow_up: FollowUp | None = Field(None, description="which lesion it is, at which visit; null: not said")
    notice: str = Field(NOTICE, description="to be shown with the answer")
    attention: AttentionLinks = Field(description="where the attention maps are")
    timings_ms: Timings = Field(description="how long it took, in milliseconds")


def maps_of(id: str) -> str:
    """The address of a prediction's maps, to which a map's name is appended."""
    return f"/v1/predictions/{id}/maps/"


def read_prediction(text: str, id: str) -> Prediction:
    """The prediction ``id`` from its kept JSON, which may have additional fields of a later version.

    Raises ValueError for anything else, and for an inconsistent prediction.
    """
    prediction = Prediction.model_validate_json(text, extra="ignore")
    links = prediction.attention.model_dump(exclude_none=True).values()
    if prediction.id != id or not all(link.startswith(maps_of(id)) for link in links):
        raise ValueError("another prediction's id")
    decision, shares = prediction.decision, prediction.probabilities or {}
    every = [shares, *(branch.probabilities for branch in prediction.branches or ())]
    margin = (decision.malignant_probability or 0.0) - decision.threshold
    unsure = "not_sure" in decision.reasons
    agrees = (
        prediction.branches is not None
        and decision.malignant_probability is not None
        and shares.get(prediction.diagnosis or "", 0.0) >= max(shares.values(), default=0.0) - _ROUNDING
        and all(of.keys() == shares.keys() and abs(sum(of.values()) - 1) <= _ROUNDING for of in every)
        and (decision.refer is None) == (decision.status == "abstained") == bool(decision.abstained_because)
        and (decision.refer is None or abs(margin) <= _ROUNDING or decision.refer == (margin >= 0 or unsure))
    )
    if not agrees:
        raise ValueError("a prediction that contradicts itself")
    return prediction


class BatchAnswer(Body):
    """The result of one image of a batch: its prediction, or its problem."""

    reference: str | None = Field(description="the client's own, from the form field `reference`; not kept")
    prediction: Prediction | None = Field(description="null when there is a problem with this image")
    problem: Problem | None = Field(description="null when there is a prediction")


class BatchAnswers(Body):
    """The answers to the images of one request, in their order."""

    answers: list[BatchAnswer] = Field(description="as many as images, in their order")


class ModelCard(Body):
    """The model in use: its card, its manifest, and how it runs."""

    card: str = Field(description="MODEL_CARD.md")
    manifest: Manifest = Field(description="bundle.json")
    sha256: str = Field(description="of bundle.json, which fixes every file; in hexadecimal")
    variant: str = Field(description="precision", examples=["fp32"])
    provider: str = Field(description="processor", examples=["cpu"])
    operating_point: OperatingPointName = Field(description="used where a request names none")
    keeps_ledger: bool = Field(description="whether lesions can be followed over time: `CIN_LEDGER`")
    takes_jobs: bool = Field(description="whether many images can be sent as a job: `CIN_JOBS_URL`")
    abstains: Abstains = Field(description="what `CIN_ABSTAIN` says, or that this model has no limits to abstain at")


class Readiness(Body):
    """Whether requests are taken, and why not."""

    ready: bool = Field(description="whether requests are taken")
    reason: str | None = Field(description="why not; null when ready")
    provider: str = Field(description="processor", examples=["cpu"])
    variant: str = Field(description="precision", examples=["fp32"])
    queue_depth: int = Field(ge=0, description="images waiting for the network")
    canary_max_difference: float | None = Field(
        description="largest difference of a probability in the last self-check; null before the first"
    )
