"""Abstention: which of the bundle's quality limits an image exceeds, and for which reasons no advice is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from service.bundle.base import Interval, Record
from service.bundle.feature_distance import FeatureDistance, Features
from service.bundle.image_quality import MIN_COLOUR, Frame, measure_exposure

LimitReason = Literal[
    "not_dermoscopy", "blurred", "too_dark", "too_bright", "no_colour", "no_lesion_found", "tiny_lesion"
]

# Reasons to give no advice: there is nothing to judge, or answers were measured to be useless or falsely reassuring.
# The other reasons call for caution.
ABSTAINS: frozenset[str] = frozenset(
    {"not_dermoscopy", "blurred", "too_dark", "too_bright", "no_colour", "no_lesion_found"}
)


class MeasuredAbstention(Record):
    """On how many images of a set a variant abstains, and why."""

    measured_on: str = Field(examples=["isic2017-validation"], description="which set")
    variant: str = Field(description="precision of the network")
    num_pictures: int = Field(gt=0, description="in the set")
    abstained: Interval = Field(description="share of them without advice")
    num_by_reason: dict[LimitReason, NonNegativeInt] = Field(
        description="an image may have several; those for caution count, too"
    )


class Abstention(Record):
    """Quality limits; an image beyond them is unlike the training images.

    Limits that no image can exceed are refused.
    """

    familiarity: str = Field(description="file of the Gaussian of the training images' features")
    max_unfamiliarity: float = Field(gt=0, le=100, description="a training image has about 1")
    min_sharpness: float = Field(gt=0, lt=1, description="an image of noise has 1")
    max_dark_share: float = Field(ge=0, lt=1, description="of the pixels")
    max_bright_share: float = Field(ge=0, lt=1, description="of the pixels")
    min_lesion_fraction: float = Field(gt=0, lt=1, description="a smaller lesion is judged, with caution")
    fitted_on: str = Field(
        examples=["isic2017-train (2000 images)"], description="set that the limits were derived from"
    )
    measured: list[MeasuredAbstention] = Field(description="what the limits did on some sets")

    def limits(self) -> dict[str, float]:
        """The limits by name."""
        return {name: value for name, value in self if isinstance(value, float)}


@dataclass(frozen=True)
class Quality:
    """The measurements that are compared with the limits."""

    sharpness: Annotated[float, Field(description="an image of noise has 1")]
    dark_share: Annotated[float, Field(description="of the pixels")]
    bright_share: Annotated[float, Field(description="of the pixels")]
    colour: Annotated[float, Field(description="mean difference of a pixel's channels, of 255")]
    unfamiliarity: Annotated[float, Field(description="a training image has about 1")]


def measure_quality(frame: Frame, features: Features, distance: FeatureDistance) -> Quality:
    """The quality of a frame ``[F, F, 3]`` with features ``[2, C]``."""
    exposure = measure_exposure(frame)
    return Quality(
        sharpness=exposure.sharpness,
        dark_share=exposure.dark_share,
        bright_share=exposure.bright_share,
        colour=exposure.colour,
        unfamiliarity=float(distance.of(features)),
    )


def beyond_limits(quality: Quality, lesion_fraction: float, limits: Abstention) -> list[LimitReason]:
    """The limits that an image exceeds; ``lesion_fraction`` is the share of the image that is lesion."""
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
