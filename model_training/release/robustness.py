"""How much a bundle's advice changes when an image changes and the lesion does not.

Measured on the validation set, or on the training set out of fold: each image answered by a network of the same
configuration that was not trained on it. Changes of the file (a turn, another compression) reach the graph as they are.
Changes of the scene (hairs, light, blur) are compressed again if the set has JPEG copies, like the images themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Flags, Frames, Scores
from model_training.data.artefacts import ARTEFACTS, STORAGE, TURNS, Change, blurred, changed_frames, lit
from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import measure, proportion
from model_training.release.abstention import LESION_FRACTION, abstains, exceeded_limits
from model_training.release.parity import run_onnx
from service.bundle import FEATURES, Bundle, BundleError, Interval, Robustness, is_unsure

# Losses of quality at which advice should be withheld: blur as a share of the side, light as a factor.
QUALITY_LOSSES: Mapping[str, Change] = {
    **{f"blur {radius:g} of 256 pixels": blurred(radius / 256) for radius in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)},
    **{f"light x {factor:g}": lit(factor) for factor in (0.6, 0.5, 0.4, 0.3, 0.2, 1.4, 1.7, 2.0, 2.5, 3.0)},
}

UNCHANGED, ANY_TURN = "none", "any turn"

_OUTPUTS = ("probabilities", LESION_FRACTION, FEATURES)


# After these the advice should be the same.
STEADY: Mapping[str, Change] = {**TURNS, **STORAGE, **ARTEFACTS}


class Part(NamedTuple):
    """Images, and the graph that answers them."""

    images: FrameSet
    graph: Path


@dataclass(frozen=True)
class Answers:
    """Answers to N frames: the malignant probability, and whether the network is not sure or advice is withheld."""

    scores_N: Scores
    unsure_N: Flags
    withheld_N: Flags


def own_part(bundle: Bundle, images: FrameSet) -> Part:
    """``images`` with the bundle's own float32 graph."""
    return Part(images, bundle.path(bundle.variant("fp32").file))


def measure_robustness(
    bundle: Bundle, parts: Sequence[Part], changes: Mapping[str, Change] | None = None
) -> list[dict[str, Any]]:
    """For each change: how often the advice changes, by how much the probability, and the remaining rates.

    ``changed`` counts images whose advice (referral, no referral, withheld) differs from that without the change. Rates
    are those of the default operating point, as if no advice were withheld. ``changes``: all of them by default. Raises
    :class:`BundleError` for a bundle without limits.
    """
    manifest, limits, gaussian = bundle.manifest, bundle.manifest.abstention, bundle.feature_distance()
    if limits is None or gaussian is None:
        raise BundleError(f"{bundle.folder} has no limits to abstain at; give it some: cin-train abstention")
    malignant_K = np.array([c.malignant for c in manifest.classes])
    specs = [s for s in manifest.outputs if s.name in _OUTPUTS]

    def answer(frames: Frames, graph: Path) -> Answers:
        found = run_onnx(graph, frames, specs, batch=1)
        withheld = [abstains(exceeded) for exceeded in exceeded_limits(frames, found, gaussian, limits)]
        probabilities_NK = found["probabilities"]
        unsure_N = is_unsure(probabilities_NK, manifest.not_sure, manifest.classes)
        return Answers(probabilities_NK[:, malignant_K].sum(axis=1), unsure_N, np.array(withheld))

    def answers_to(change: Change | None, jpeg_quality: int | None) -> Answers:
        answered = []
        for images, graph in parts:
            frames = np.asarray(images.frames)
            if change is not None:
                frames = changed_frames(frames, change, jpeg_quality=jpeg_quality)
            answered.append(answer(frames, graph))
        fields = ("scores_N", "unsure_N", "withheld_N")
        return Answers(*(np.concatenate([getattr(each, field) for each in answered]) for field in fields))

    labels_N = np.concatenate([part.images.labels for part in parts])
    point, malignant_N = manifest.operating_point(), malignant_K[labels_N]
    known_N = np.array([c.role != "unknown" for c in manifest.classes])[labels_N]

    def figures_of(answers: Answers) -> dict[str, Any]:
        rates = measure(
            point.name,
            point.threshold,
            malignant_N[known_N],
            answers.scores_N[known_N],
            measured_on=parts[0].images.name,
            unsure_N=answers.unsure_N[known_N],
        )
        shares = {"sensitivity": rates.sensitivity, "specificity": rates.specificity}
        return {**{name: share.model_dump() for name, share in shares.items()}, "withheld": _share(answers.withheld_N)}

    reference = answers_to(None, None)
    advice_N, any_turn_N = _advice(reference, point.threshold), np.zeros(len(labels_N), dtype=bool)
    rows = []
    for name, change in (changes or {**STEADY, **QUALITY_LOSSES}).items():
        stored = None if name in TURNS or name in STORAGE else manifest.frame_jpeg_quality
        answers = answers_to(change, stored)
        changed_N = _advice(answers, point.threshold) != advice_N
        any_turn_N |= changed_N & (name in TURNS)
        difference = float(np.abs(answers.scores_N - reference.scores_N).mean())
        figures = {"changed": _share(changed_N), "mean_difference": difference, **figures_of(answers)}
        rows.append({"change": name, **figures})
    any_turn = {"change": ANY_TURN, "changed": _share(any_turn_N)}
    return [{"change": UNCHANGED, **figures_of(reference)}, any_turn, *rows]


def robustness_of(rows: Sequence[Mapping[str, Any]], *, measured_on: str) -> Robustness:
    """What these figures say of changes after which the advice should be the same: not of losses of quality."""
    told = {ANY_TURN, *STORAGE, *ARTEFACTS}
    changed = {row["change"]: Interval(**row["changed"]) for row in rows if row["change"] in told}
    return Robustness(measured_on=measured_on, other_advice=changed)


def _advice(answers: Answers, threshold: float) -> NDArray[np.int8]:
    """0: no referral, 1: referral, 2: withheld."""
    return np.where(answers.withheld_N, 2, answers.unsure_N | (answers.scores_N >= threshold)).astype(np.int8)


def _share(flags_N: Flags) -> dict[str, float]:
    return proportion(int(flags_N.sum()), len(flags_N)).model_dump()
