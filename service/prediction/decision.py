"""From the network's outputs to a decision (refer, do not refer, no advice) with reasons; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from service.attention.outline import contours, signed_area
from service.bundle import Manifest, OperatingPoint, is_unsure, malignancy, referral_margins
from service.bundle.abstention import ABSTAINS, LimitReason, Quality, beyond_limits
from service.imaging import CAUTIONS, Caution
from service.inference.answers import Answer

Reason = Literal[
    LimitReason,
    "lesion_touches_border",
    "several_lesions",
    "branches_disagree",
    "not_sure",
    "near_threshold",
    "near_not_sure",
    "small_picture",
    Caution,
]
Status = Literal["ok", "caution", "abstained"]

REASONS: dict[Reason, str] = {
    "not_dermoscopy": "the image is unlike the dermoscopy images that the network learned from",
    "blurred": "the image is less sharp than those that the network learned from",
    "too_dark": "more of the image is dark than in those that the network learned from",
    "too_bright": "more of the image is nearly white than in those that the network learned from",
    "no_colour": "the image has shades of grey alone, and the network learned from colours",
    "no_lesion_found": "the network found no lesion and judged the whole image",
    "tiny_lesion": "the lesion is smaller in the image than those that the network learned from",
    "lesion_touches_border": "the lesion reaches the edge of the image, so part of it may be missing",
    "several_lesions": "the image seems to show more than one lesion, which were judged as one",
    "branches_disagree": "the two branches name different diagnoses",
    "not_sure": "no diagnosis that the network knows is likely enough: a referral is advised, although the probability "
    "of malignancy is below the threshold",
    "near_threshold": "the probability of malignancy is close to the threshold: another image of the lesion may get "
    "the other advice",
    "near_not_sure": "the likeliest diagnosis is about as likely as it must be: another image of the lesion may get "
    "the other advice",
    "small_picture": "the image has fewer pixels than the network takes",
    "burned_in_annotation": CAUTIONS["burned_in_annotation"],
    "recognizable_features": CAUTIONS["recognizable_features"],
}
assert set(REASONS) == set(get_args(Reason))

# For bundles without measured repeatability: the distance in probability that counts as near a limit.
NEAR_THRESHOLD = 0.05

# Lesion attention above this (of 255) is lesion: the threshold inside the graph is 0.5.
LESION_LEVEL = 127

# The least area of a region that counts as a lesion: of the image, and of the largest region. A lower limit would find
# several lesions in more than 2 % of images that show one.
LEAST_LESION = 0.005
LEAST_OF_LARGEST = 0.12
# The map is measured on a grid of this many points per side, which takes a millisecond.
_GRID = 112


@dataclass(frozen=True)
class PixelBox:
    """A rectangle in pixels of the upright image; x1 and y1 are the first pixels outside."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Decision:
    """Refer or not at an operating point, or no advice (None); with the reasons for caution or for abstaining."""

    point: OperatingPoint
    malignancy: float
    refer: bool | None
    status: Status
    reasons: tuple[Reason, ...]
    abstained_because: tuple[Reason, ...]


def rounded(share: float) -> float:
    """Round to the precision of float32, and to at most 1, which a sum of softmax values may exceed.

    Decisions use the rounded values that are sent, so that clients can reproduce them.
    """
    return min(1.0, round(share, 6))


def diagnosis(answer: Answer, manifest: Manifest) -> str:
    """The name of the class with the highest summed probability (the paper's test phase)."""
    return manifest.classes[int(answer.probabilities.argmax())].name


def pixel_box(answer: Answer, *, width: int, height: int) -> PixelBox:
    """The crop box in pixels of the upright image, at least one pixel wide and high."""
    x0, y0, x1, y1 = (float(edge) for edge in answer.crop_box)
    left, top = min(round(x0 * width), width - 1), min(round(y0 * height), height - 1)
    return PixelBox(left, top, max(left + 1, round(x1 * width)), max(top + 1, round(y1 * height)))


def decide(
    answer: Answer,
    manifest: Manifest,
    point: OperatingPoint,
    *,
    width: int,
    height: int,
    quality: Quality | None = None,
    may_abstain: bool = True,
    cautions: tuple[Caution, ...] = (),
) -> Decision:
    """Refer when the summed probability of the malignant classes reaches the operating point's threshold, or when no
    class is likely enough for the manifest's ``not_sure``.

    ``width`` and ``height`` are the upright image's, in pixels. Its ``quality`` is compared with the manifest's limits:
    beyond some of them no advice is given, if ``may_abstain``. ``cautions`` are reasons stated in the image's file.
    """
    malignant = rounded(malignancy(answer.probabilities, manifest.classes))
    limits = manifest.abstention if quality is not None else None
    reasons: list[Reason] = []
    if quality is not None and limits is not None:
        reasons += beyond_limits(quality, answer.lesion_fraction, limits)
    elif answer.lesion_fraction <= 0.0:
        reasons.append("no_lesion_found")
    if answer.lesion_fraction > 0.0 and _touches_border(answer):
        reasons.append("lesion_touches_border")
    if _num_lesions(answer) > 1:
        reasons.append("several_lesions")
    if len(set(answer.branch_probabilities.argmax(axis=1).tolist())) > 1:
        reasons.append("branches_disagree")
    refer, of_limits = judge([rounded(float(share)) for share in answer.probabilities], malignant, manifest, point)
    reasons += of_limits
    if min(width, height) < manifest.frame_size:
        reasons.append("small_picture")
    reasons += cautions
    because = tuple(r for r in reasons if r in ABSTAINS) if limits is not None and may_abstain else ()
    return Decision(
        point=point,
        malignancy=malignant,
        refer=None if because else refer,
        status="abstained" if because else "caution" if reasons else "ok",
        reasons=tuple(reasons),
        abstained_because=because,
    )


def judge(
    shares_K: Sequence[float], malignant: float, manifest: Manifest, point: OperatingPoint
) -> tuple[bool, list[Reason]]:
    """Whether to refer, by the rounded probabilities that are sent, and reasons for caution.

    ``near_threshold`` and ``near_not_sure``: that limit is closer than the measured repeatability, or without one than
    ``NEAR_THRESHOLD``. ``not_sure``: that limit alone causes the referral.
    """
    limits = (point.threshold, manifest.not_sure, manifest.classes)
    if (repeatability := manifest.repeatability) is None:
        near, margins = NEAR_THRESHOLD, referral_margins(shares_K, *limits, scale=np.asarray)
    else:
        near, margins = repeatability.near_threshold, referral_margins(shares_K, *limits)
    # A referral can flip only if all limits that it reaches are near; without one, a single near limit is enough.
    largest = margins.max()
    threshold, unsure_limit = (abs(margins) < near) & (largest < near) & ((margins >= 0) | (largest < 0))
    reached = malignant >= point.threshold
    unsure = not reached and bool(is_unsure(shares_K, manifest.not_sure, manifest.classes))
    named: dict[Reason, bool] = {
        "not_sure": unsure,
        "near_threshold": bool(threshold),
        "near_not_sure": bool(unsure_limit),
    }
    return reached or unsure, [reason for reason, holds in named.items() if holds]


def _touches_border(answer: Answer) -> bool:
    """Whether the lesion reaches an edge of the image.

    Both the attention and the crop box must reach it: the box alone may do so by its margin, the attention by a speck
    outside the box.
    """
    lesion = answer.lesion_attention > LESION_LEVEL
    x0, y0, x1, y1 = answer.crop_box
    edges = (
        (x0 <= 0.0, lesion[:, 0]),
        (y0 <= 0.0, lesion[0]),
        (x1 >= 1.0, lesion[:, -1]),
        (y1 >= 1.0, lesion[-1]),
    )
    return any(bool(box_reaches) and bool(pixels.any()) for box_reaches, pixels in edges)


def _num_lesions(answer: Answer) -> int:
    """The number of separate regions of lesion attention, without specks."""
    step = max(1, len(answer.lesion_attention) // _GRID)
    areas = [signed_area(ring) for ring in contours(answer.lesion_attention[::step, ::step], LESION_LEVEL + 1)]
    least = max(LEAST_LESION, LEAST_OF_LARGEST * max(areas, default=0.0))
    return sum(area >= least for area in areas)
