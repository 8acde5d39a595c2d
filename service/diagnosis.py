"""From the network's outputs to what a clinician is told; pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from service.bundle import Manifest, OperatingPoint
from service.engine import Answer

Reason = Literal["no_lesion_found", "lesion_touches_border", "branches_disagree", "near_threshold", "small_picture"]
Status = Literal["clear", "caution"]

REASONS: dict[Reason, str] = {
    "no_lesion_found": "the network found no lesion and judged the whole picture",
    "lesion_touches_border": "the lesion reaches the edge of the picture, so part of it may be missing",
    "branches_disagree": "the two branches name different diagnoses",
    "near_threshold": "the probability of malignancy is close to the threshold for referral",
    "small_picture": "the picture has fewer pixels than the network takes",
}
assert set(REASONS) == set(get_args(Reason))

# Closer to the threshold than this, repeated pictures of one lesion would often fall on both sides of it.
NEAR_THRESHOLD = 0.05

# Lesion attention above this (of 255) is lesion: the threshold inside the graph is 0.5.
LESION_LEVEL = 127


@dataclass(frozen=True)
class PixelBox:
    """A rectangle in pixels of the upright picture; x1 and y1 are the first pixels outside."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Decision:
    """Refer or not at an operating point, and the reasons for caution."""

    point: OperatingPoint
    malignancy: float
    refer: bool
    status: Status
    reasons: tuple[Reason, ...]


def diagnosis(answer: Answer, manifest: Manifest) -> str:
    """The name of the class with the highest summed probability (the paper's test phase)."""
    return manifest.classes[int(answer.probabilities.argmax())].name


def pixel_box(answer: Answer, *, width: int, height: int) -> PixelBox:
    """The crop box in pixels of the upright picture, at least one pixel wide and high."""
    x0, y0, x1, y1 = (float(edge) for edge in answer.crop_box)
    left, top = min(round(x0 * width), width - 1), min(round(y0 * height), height - 1)
    return PixelBox(left, top, max(left + 1, round(x1 * width)), max(top + 1, round(y1 * height)))


def decide(answer: Answer, manifest: Manifest, point: OperatingPoint, *, width: int, height: int) -> Decision:
    """Refer when the summed probability of the malignant classes reaches the operating point's threshold.

    ``width`` and ``height`` are the upright picture's, in pixels.
    """
    malignant = np.array([c.malignant for c in manifest.classes])
    malignancy = float(answer.probabilities[malignant].sum())
    reasons: list[Reason] = []
    if answer.lesion_fraction <= 0.0:
        reasons.append("no_lesion_found")
    elif _touches_border(answer):
        reasons.append("lesion_touches_border")
    if len(set(answer.branch_probabilities.argmax(axis=1).tolist())) > 1:
        reasons.append("branches_disagree")
    if abs(malignancy - point.threshold) < NEAR_THRESHOLD:
        reasons.append("near_threshold")
    if min(width, height) < manifest.frame_size:
        reasons.append("small_picture")
    return Decision(
        point=point,
        malignancy=malignancy,
        refer=malignancy >= point.threshold,
        status="caution" if reasons else "clear",
        reasons=tuple(reasons),
    )


def _touches_border(answer: Answer) -> bool:
    """Whether the lesion reaches an edge of the picture.

    Both the attention and the crop box have to: the box may only reach it by its margin, the attention by a speck that
    the box does not cover.
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
