"""A bundle's advice on other diagnoses and other kinds of image, and its differences between two images of one lesion.

Each set is a folder with ``images/`` and a table, ``labels.csv`` or ``lesions.csv``, with the columns path, diagnosis
and lesion. The sets evaluate and choose limits; nothing is trained on them.
"""

from __future__ import annotations

import csv
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Flags, Frames, Scores
from model_training.evaluation.calibration import proportion
from model_training.release.abstention import LESION_FRACTION, abstains, exceeded_limits
from model_training.release.parity import run_onnx
from model_training.reporting.summary_card import with_summary
from service.bundle import (
    FEATURES,
    MODEL_CARD_NAME,
    Bundle,
    BundleError,
    OutsideAdvice,
    Record,
    Repeatability,
    is_unsure,
    referral_margins,
    write_bundle,
)
from service.imaging import read_picture

UNKNOWN_DIAGNOSES, CLINICAL_PHOTOGRAPHS = "unknown_diagnoses", "clinical_photographs"

# An answer is near a limit for a referral when a second image of the lesion gets the other advice with this chance.
OTHER_ADVICE = 0.2

_OUTPUTS = ("probabilities", LESION_FRACTION, FEATURES)


class SetError(ValueError):
    """A set cannot be read; the text names the file and its expected contents."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with a diagnosis and a lesion each."""

    frames: Frames
    diagnoses: tuple[str, ...]
    lesions: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """A bundle's advice on N frames."""

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
    unsure_N = is_unsure(found["probabilities"], manifest.not_sure, manifest.classes)
    refers_N = (unsure_N | (malignancy_N >= manifest.operating_point().threshold)) & ~withheld_N
    return Advice(found["probabilities"], malignancy_N, withheld_N, refers_N)


def measure_diagnoses(bundle: Bundle, images: LabelledImages) -> dict[str, Any]:
    """For each diagnosis the shares of images with a referral, without one, and without advice."""
    advice = advise(bundle, images.frames)
    return {
        diagnosis: {"num_images": int(of.sum()), **_shares(advice, of)}
        for diagnosis in dict.fromkeys(images.diagnoses)
        for of in [np.array([other == diagnosis for other in images.diagnoses])]
    }


def measure_frames(bundle: Bundle, frames: Frames) -> dict[str, Any]:
    """The same shares for all of the frames."""
    advice = advise(bundle, frames)
    return {"num_images": len(frames), **_shares(advice, np.ones(len(frames), dtype=bool))}


def measure_repeats(bundle: Bundle, images: LabelledImages, *, measured_on: str) -> Repeatability | None:
    """How much the malignant probability differs between two images of one lesion, where both get advice.

    None when no pair gets advice. Raises :class:`SetError` when no lesion has two images.
    """
    advice = advise(bundle, images.frames)
    places = defaultdict(list)
    for place, lesion in enumerate(images.lesions):
        places[lesion].append(place)
    pairs_P2 = np.array([of for of in places.values() if len(of) == 2])
    if not len(pairs_P2):
        raise SetError("no lesion has two images")
    pairs_P2 = pairs_P2[~advice.withheld_N[pairs_P2].any(axis=1)]
    if not len(pairs_P2):
        return None
    manifest, refers_P2 = bundle.manifest, advice.refers_N[pairs_P2]
    change_P = np.abs(np.diff(advice.malignancy_N[pairs_P2].astype(float)))
    margins_N2 = referral_margins(
        advice.probabilities_NK, manifest.operating_point().threshold, manifest.not_sure, manifest.classes
    )
    margin_P2 = margins_N2.max(axis=1)[pairs_P2]
    return Repeatability(
        measured_on=f"{measured_on} ({len(pairs_P2)} pairs)",
        num_pairs=len(pairs_P2),
        median_change=float(np.median(change_P)),
        percentile_95_change=float(np.quantile(change_P, 0.95)),
        other_advice=proportion(int((refers_P2[:, 0] != refers_P2[:, 1]).sum()), len(pairs_P2)),
        # A change is as likely to be away from the limit as towards it.
        near_threshold=float(np.quantile(np.abs(np.diff(margin_P2)), 1 - 2 * OTHER_ADVICE)),
    )


def halves(images: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """Split a set by lesion into halves with the same diagnoses: one to choose limits, one to evaluate them."""
    order = sorted(set(zip(images.diagnoses, images.lesions, strict=True)))
    first = {lesion for place, (_, lesion) in enumerate(order) if place % 2 == 0}
    chosen = [lesion in first for lesion in images.lesions]
    return _part(images, chosen), _part(images, [not flag for flag in chosen])


def name_halves(frames: Frames) -> tuple[Frames, Frames]:
    """Frames in the order of their names, halved where one person's images are next to each other."""
    middle = len(frames) // 2
    return frames[:middle], frames[middle:]


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


def outside_advice(found: Mapping[str, Any]) -> list[OutsideAdvice]:
    """Of the figures of the command ``outside``, those of images that chose no limit."""
    second = found.get(UNKNOWN_DIAGNOSES, {}).get("second", {})
    shares = [(name, f"{UNKNOWN_DIAGNOSES}, second half", of) for name, of in second.items()]
    if (photographs := f"{CLINICAL_PHOTOGRAPHS}, second half") in found:
        shares.append((CLINICAL_PHOTOGRAPHS, photographs, found[photographs]))
    return [OutsideAdvice(name=name, measured_on=images, **of) for name, images, of in shares]


def with_measured(bundle: Bundle, out: Path, **measured: Record | list[OutsideAdvice]) -> Bundle:
    """Write the bundle to ``out`` with more fields in its manifest, and what the card's summary says of them."""
    fields = bundle.manifest.model_dump(exclude={"schema_version", "files"})
    files = {name: bundle.path(name) for name in bundle.manifest.files}
    card = with_summary(bundle.model_card(), {**dict(bundle.manifest), **measured})
    with tempfile.TemporaryDirectory() as scratch:
        files[MODEL_CARD_NAME] = Path(scratch) / MODEL_CARD_NAME
        files[MODEL_CARD_NAME].write_text(card, encoding="utf-8")
        return write_bundle(out, files=files, manifest={**fields, **measured})
