"""When a picture gets no advice: the bundle's limits, what came of them, and how a picture is held against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from service.bundle.base import Interval, Probability, Record
from service.bundle.feature_distance import Familiarity, Features
from service.bundle.image_quality import MIN_COLOUR, Frame, measure_exposure

LimitReason = Literal[
    "not_dermoscopy", "blurred", "too_dark", "too_bright", "no_colour", "no_lesion_found", "tiny_lesion"
]

# What leaves nothing to be judged, or has been seen to make its answers useless or reassuring where they should not be
# (docs/RESULTS.md); the rest is for caution.
ABSTAINS: frozenset[str] = frozenset(
    {"not_dermoscopy", "blurred", "too_dark", "too_bright", "no_colour", "no_lesion_found"}
)


class MeasuredAbstention(Record):
    """How many pictures of a set a variant gives no advice on, and why."""

    measured_on: str = Field(examples=["isic2017-validation"])
    variant: str
    num_pictures: int = Field(gt=0)
    abstained: Interval
    num_by_reason: dict[LimitReason, int] = Field(description="one picture may have several, caution included")


class Abstention(Record):
    """Limits of what a picture may be like; beyond them it is unlike those that the network learned from."""

    familiarity: str = Field(description="file of the Gaussian of the training pictures' features")
    max_unfamiliarity: float = Field(gt=0)
    min_sharpness: float = Field(ge=0)
    max_dark_share: Probability
    max_bright_share: Probability
    min_lesion_fraction: Probability = Field(description="a smaller lesion is judged, with caution")
    fitted_on: str = Field(examples=["isic2017-train (2000 pictures)"])
    measured: list[MeasuredAbstention]


@dataclass(frozen=True)
class Quality:
    """What a picture is held against the limits with."""

    sharpness: float
    dark_share: float
    bright_share: float
    colour: float
    unfamiliarity: float


def measure_quality(frame: Frame, features: Features, familiarity: Familiarity) -> Quality:
    """The quality of a frame ``[F, F, 3]`` with the network's features ``[2, C]`` of it."""
    exposure = measure_exposure(frame)
    return Quality(
        sharpness=exposure.sharpness,
        dark_share=exposure.dark_share,
        bright_share=exposure.bright_share,
        colour=exposure.colour,
        unfamiliarity=float(familiarity.unfamiliarity(features)),
    )


def beyond_limits(quality: Quality, lesion_fraction: float, limits: Abstention) -> list[LimitReason]:
    """The limits that a picture is beyond, where the network finds a lesion of ``lesion_fraction`` of it."""
    beyond: dict[LimitReason, bool] = {
        "not_dermoscopy": quality.unfamiliarity > limits.max_unfamiliarity,
        "blurred": quality.sharpness < limits.min_sharpness,
        "too_dark": quality.dark_share > limits.max_dark_share,
        "too_bright": quality.bright_share > limits.max_bright_share,
        "no_colour": quality.colour < MIN_COLOUR,
        "no_lesion_found": lesion_fraction <= 0.0,
        "tiny_lesion": 0.0 < lesion_fraction < limits.min_lesion_fraction,
    }
    return [reason for reason, holds in beyond.items() if holds]
