"""What a bundle advises on images outside its classes or its kind, and how far two images of one lesion differ.

The sets lie in folders of ``images/`` with a table beside it: ``labels.csv`` or ``lesions.csv``, with the columns path,
diagnosis and lesion. They judge and choose limits; nothing is trained on them.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Flags, Frames, Scores
from model_training.evaluation.calibration import proportion
from model_training.release.abstention import LESION_FRACTION, abstains, exceeded_limits, read_frames
from model_training.release.parity import run_onnx
from service.bundle import FEATURES, Bundle, BundleError
from service.imaging import read_picture

_OUTPUTS = ("probabilities", LESION_FRACTION, FEATURES)


class SetError(ValueError):
    """A set cannot be read; the text names the file and what it should hold."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with a diagnosis and a lesion each."""

    frames: Frames
    diagnoses: tuple[str, ...]
    lesions: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """What a bundle says about N frames."""

    probabilities_NK: NDArray[np.float32]
    malignancy_N: Scores
    withheld_N: Flags
    refers_N: Flags  # False where withheld


def read_labelled(folder: Path, table: str, *, frame_size: int, jpeg_quality: int | None) -> LabelledImages:
    """The images that ``table`` lists, as frames of the graph. Raises :class:`SetError`."""
    try:
        with (folder / table).open(encoding="utf-8", newline="") as file:
            rows = [(row["path"], row["diagnosis"], row["lesion"]) for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise SetError(f"{folder / table} is no table with the columns path, diagnosis, lesion ({error})") from error
    if not rows:
        raise SetError(f"{folder / table} lists no images")
    frames = []
    for path, _, _ in rows:
        try:
            frames.append(read_picture((folder / path).read_bytes(), frame_size, jpeg_quality=jpeg_quality).frame)
        except (OSError, ValueError) as error:
            raise SetError(f"{folder / path}: {error}") from error
    return LabelledImages(np.stack(frames), tuple(row[1] for row in rows), tuple(row[2] for row in rows))


def advise(bundle: Bundle, frames: Frames) -> Advice:
    """The default operating point's advice, by the float32 graph. Raises :class:`BundleError` without limits."""
    manifest, limits, gaussian = bundle.manifest, bundle.manifest.abstention, bundle.feature_distance()
    if limits is None or gaussian is None:
        raise BundleError(f"{bundle.folder} has no limits to abstain at; give it some: cin-train abstention")
    specs = [spec for spec in manifest.outputs if spec.name in _OUTPUTS]
    found = run_onnx(bundle.path(bundle.variant("fp32").file), frames, specs, batch=1)
    malignancy_N = found["probabilities"][:, [c.malignant for c in manifest.classes]].sum(axis=1)
    withheld_N = np.array([abstains(exceeded) for exceeded in exceeded_limits(frames, found, gaussian, limits)])
    refers_N = (malignancy_N >= manifest.operating_point().threshold) & ~withheld_N
    return Advice(found["probabilities"], malignancy_N, withheld_N, refers_N)


def measure_diagnoses(bundle: Bundle, images: LabelledImages) -> dict[str, Any]:
    """For each diagnosis the shares of images with a referral, without one, and without advice."""
    advice = advise(bundle, images.frames)
    return {
        diagnosis: {"num_images": int(of.sum()), **_shares(advice, of)}
        for diagnosis in dict.fromkeys(images.diagnoses)
        for of in [np.array([other == diagnosis for other in images.diagnoses])]
    }


def measure_folder(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """The same for all images of a folder, which are not dermoscopy."""
    manifest = bundle.manifest
    frames = read_frames(folder, frame_size=manifest.frame_size, jpeg_quality=manifest.frame_jpeg_quality).frames
    advice = advise(bundle, frames)
    return {"num_images": len(frames), **_shares(advice, np.ones(len(frames), dtype=bool))}


def measure_repeats(bundle: Bundle, images: LabelledImages) -> dict[str, Any]:
    """How far the malignant probability differs between two images of one lesion: median, 95th percentile, advice.

    Pairs of which one image gets no advice are counted, and left out of the differences.
    """
    advice = advise(bundle, images.frames)
    places = defaultdict(list)
    for place, lesion in enumerate(images.lesions):
        places[lesion].append(place)
    pairs_P2 = np.array([of for of in places.values() if len(of) == 2])
    if not len(pairs_P2):
        raise SetError("no lesion has two images")
    first, second = pairs_P2.T
    advised_P = ~(advice.withheld_N[first] | advice.withheld_N[second])
    first, second = first[advised_P], second[advised_P]
    difference_P = np.abs(advice.malignancy_N[first] - advice.malignancy_N[second])
    return {
        "num_pairs": len(pairs_P2),
        "with_advice": proportion(int(advised_P.sum()), len(pairs_P2)).model_dump(),
        "median_difference": float(np.median(difference_P)) if len(first) else None,
        "percentile_95": float(np.quantile(difference_P, 0.95)) if len(first) else None,
        "other_advice": proportion(
            int((advice.refers_N[first] != advice.refers_N[second]).sum()), len(first)
        ).model_dump()
        if len(first)
        else None,
    }


def halves(images: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """Two halves of a set, lesion by lesion, with the same mix: one to choose limits on, one to judge them."""
    order = sorted(set(zip(images.diagnoses, images.lesions, strict=True)))
    first = {lesion for place, (_, lesion) in enumerate(order) if place % 2 == 0}
    chosen = [lesion in first for lesion in images.lesions]
    return _part(images, chosen), _part(images, [not flag for flag in chosen])


def _part(images: LabelledImages, chosen: Sequence[bool]) -> LabelledImages:
    places = [place for place, flag in enumerate(chosen) if flag]
    return LabelledImages(
        images.frames[places],
        tuple(images.diagnoses[place] for place in places),
        tuple(images.lesions[place] for place in places),
    )


def _shares(advice: Advice, of_N: Flags) -> dict[str, Any]:
    num = int(of_N.sum())
    counts = {
        "referred": advice.refers_N & of_N,
        "not_referred": ~advice.refers_N & ~advice.withheld_N & of_N,
        "withheld": advice.withheld_N & of_N,
    }
    return {name: proportion(int(flags_N.sum()), num).model_dump() for name, flags_N in counts.items()}
