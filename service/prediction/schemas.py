"""The wire: what the service answers, as it stands in the OpenAPI schema."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.attention.overlay import BranchChoice, MapKind
from service.bundle import Manifest
from service.imaging import NOTES, Note
from service.prediction.decision import REASONS, Reason, Status
from service.problems import Problem

AbstainChoice = Literal["on", "caution", "off"]
Abstains = Literal[AbstainChoice, "no limits"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

NOTICE = "Research software, not a medical device. The attention maps are no evidence that the answer is right."


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class BranchProbabilities(_Body):
    """One branch's calibrated probabilities."""

    probabilities: dict[str, Share]


class DecisionBody(_Body):
    """Refer or not: whether the malignant classes' probability reaches the operating point's threshold."""

    operating_point: str
    malignant_probability: Share = Field(description="summed over the malignant classes")
    threshold: Share
    refer: bool | None = Field(description="null when nothing is advised; then show no probabilities either")
    status: Status = Field(
        description="caution when there are reasons to look twice, abstained when nothing is advised"
    )
    reasons: list[Reason] = Field(description="; ".join(f"`{name}`: {text}" for name, text in REASONS.items()))
    abstained_because: list[Reason] = Field(description="those of the reasons for which nothing is advised")
    abstains: Abstains = Field(description="`CIN_ABSTAIN` as it was, or that the model has no limits to abstain at")


class QualityBody(_Body):
    """How the picture compares with those that the network learned from; the limits are the model's `abstention`."""

    sharpness: float = Field(ge=0.0, description="change between neighbouring pixels, as a share of that over four")
    dark_share: Share = Field(description="share of dark pixels")
    bright_share: Share = Field(description="share of nearly white pixels")
    colour: float = Field(ge=0.0, le=255.0, description="a pixel's largest channel less its smallest, on average")
    unfamiliarity: float = Field(
        ge=0.0, description="distance from what the network learned from; 1 is typical of that"
    )


class CropBox(_Body):
    """Pixels of the upright picture; x1 and y1 are the first pixels outside."""

    x0: int
    y0: int
    x1: int
    y1: int


class Lesion(_Body):
    """Where the network looked."""

    found: bool = Field(description="false: no lesion was found and the whole picture was used")
    fraction: Share = Field(description="the lesion's share of the picture")
    crop_box: CropBox


class ImageBody(_Body):
    """What was sent; width and height are upright."""

    width: int
    height: int
    format: str
    sha256: str
    # Predictions that an earlier version kept have none.
    notes: list[Note] = Field([], description="; ".join(f"`{name}`: {text}" for name, text in NOTES.items()))


class AttentionLinks(_Body):
    """Where the overlays are; null for a map that this model does not have."""

    lesion: str
    spatial: str | None
    correlation: str | None


class ModelBody(_Body):
    """Which model answered, on what."""

    name: str
    version: str
    sha256: str = Field(description="of the bundle's manifest, which fixes every file")
    variant: str
    provider: str


class Timings(_Body):
    """Milliseconds."""

    decode: float
    queue: float
    inference: float
    total: float


# Of the shares in an answer, and of their sum.
_ROUNDING = 0.005

_EXAMPLE: dict[str, Any] = {
    "id": "6d1f0b3c9a524e7f8b2d4c6e8fa01b23",
    "created_at": "2026-01-01T12:00:00Z",
    "diagnosis": "melanoma",
    "probabilities": {"melanoma": 0.71, "seborrheic_keratosis": 0.05, "nevus": 0.24},
    "branches": [
        {"probabilities": {"melanoma": 0.68, "seborrheic_keratosis": 0.06, "nevus": 0.26}},
        {"probabilities": {"melanoma": 0.74, "seborrheic_keratosis": 0.04, "nevus": 0.22}},
    ],
    "decision": {
        "operating_point": "balanced",
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
    "image": {"width": 1024, "height": 768, "format": "JPEG", "sha256": "0" * 64, "notes": []},
    "attention": {
        "lesion": "/attention/6d1f0b3c9a524e7f8b2d4c6e8fa01b23?map=lesion",
        "spatial": "/attention/6d1f0b3c9a524e7f8b2d4c6e8fa01b23?map=spatial",
        "correlation": "/attention/6d1f0b3c9a524e7f8b2d4c6e8fa01b23?map=correlation",
    },
    "model": {
        "name": "cin-isic2017",
        "version": "1.0.0",
        "sha256": "0" * 64,
        "variant": "fp32",
        "provider": "cuda",
    },
    "timings_ms": {"decode": 5.1, "queue": 0.1, "inference": 9.8, "total": 15.6},
    "notice": NOTICE,
}


class Prediction(_Body):
    """The answer to ``POST /predict``: what the network says of one picture, and what to do about it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    id: str = Field(pattern="^[0-9a-f]{32}$")
    created_at: datetime
    diagnosis: str = Field(description="the class of highest probability; whether to look closer is the decision's")
    probabilities: dict[str, Share] = Field(description="mean of the two branches; sums to 1")
    branches: list[BranchProbabilities] = Field(min_length=2, max_length=2)
    decision: DecisionBody
    lesion: Lesion
    quality: QualityBody | None = Field(description="null when the model has no limits, or they are not asked for")
    image: ImageBody
    model: ModelBody
    notice: str = NOTICE
    attention: AttentionLinks
    timings_ms: Timings


def read_prediction(text: str, id: str) -> Prediction:
    """The prediction ``id`` from its JSON, also from that of a later version with more fields.

    Raises ValueError for everything else, and for a prediction that contradicts itself.
    """
    prediction = Prediction.model_validate_json(text, extra="ignore")
    links = prediction.attention.model_dump(exclude_none=True).values()
    if prediction.id != id or not all(link.startswith(f"/attention/{id}?") for link in links):
        raise ValueError("another prediction's id")
    shares, decision = prediction.probabilities, prediction.decision
    every = [shares, *(branch.probabilities for branch in prediction.branches)]
    margin = decision.malignant_probability - decision.threshold
    agrees = (
        shares.get(prediction.diagnosis, 0.0) >= max(shares.values(), default=0.0) - _ROUNDING
        and all(of.keys() == shares.keys() and abs(sum(of.values()) - 1) <= _ROUNDING for of in every)
        and (decision.refer is None) == (decision.status == "abstained") == bool(decision.abstained_because)
        and (decision.refer is None or abs(margin) <= _ROUNDING or decision.refer == (margin >= 0))
    )
    if not agrees:
        raise ValueError("a prediction that contradicts itself")
    return prediction


class Point(_Body):
    """A place in the upright picture, in pixels; fractions are kept."""

    x: float
    y: float


class AttentionSummary(_Body):
    """An attention map in figures, for those who cannot see it, and to draw with."""

    map: MapKind
    branch: BranchChoice
    region: Literal["picture", "crop"] = Field(description="what the map covers, and `share` is a share of")
    peak: float = Field(description="highest value; `lesion`: 0 to 1, otherwise how many times the average")
    evidence_level: float = Field(description="what the peak must reach for the map to be drawn")
    evident: bool
    share: Share = Field(description="part of the region at or above the evidence level")
    centre: Point | None = Field(description="centre of what is drawn, weighted by its value; null without evidence")
    outline: list[list[Point]] = Field(
        description="`lesion`: where attention crosses the evidence level, as closed polygons; clockwise around the "
        "lesion, the other way round around its holes. Empty for the other maps"
    )


class BatchAnswer(_Body):
    """What became of one picture of a batch: its prediction, or its problem."""

    prediction: Prediction | None
    problem: Problem | None


class BatchAnswers(_Body):
    """The answer to ``POST /predict/batch``, in the order of its pictures."""

    answers: list[BatchAnswer]


class ModelCard(_Body):
    """The model in use: its card, its manifest, and how it runs."""

    card: str = Field(description="MODEL_CARD.md")
    manifest: Manifest
    sha256: str
    variant: str
    provider: str
    operating_point: str = Field(description="used where a request names none")
    abstains: Abstains = Field(description="what `CIN_ABSTAIN` says, or that this model has no limits to abstain at")


class Readiness(_Body):
    """Whether requests are taken, and why not."""

    ready: bool
    reason: str | None
    provider: str
    variant: str
    queue_depth: int
    canary_max_difference: float | None
