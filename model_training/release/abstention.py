"""Fit the limits beyond which a bundle gives no advice, on the training images with the float32 graph.

The out-of-distribution score is that of :mod:`model_training.release.familiarity`; sharpness, exposure and colour are
measured on an image's pixels. Each limit excludes a small share of the training images. The limits are then applied to
validation and other images with every variant's graph. ``docs/reproduction.md`` says how the constants were chosen.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model_training.arrays import Frames
from model_training.data.splits import kept_together
from model_training.evaluation.calibration import proportion
from model_training.evaluation.test_ledger import record_reading
from model_training.release.familiarity import Photographs, fit_familiarity
from model_training.release.parity import Outputs, run_onnx, usable
from model_training.release.variants import provider_of
from model_training.reporting.abstention_card import with_abstention
from model_training.training.experiment import Experiment
from service.bundle import (
    ABSTAINS,
    FAMILIARITY_NAME,
    FEATURES,
    MODEL_CARD_NAME,
    Abstention,
    Bundle,
    BundleError,
    FeatureDistance,
    LimitReason,
    MeasuredAbstention,
    TensorSpec,
    beyond_limits,
    file_sha256,
    measure_quality,
    read_feature_distance,
    write_bundle,
)
from service.imaging import PictureError, read_picture

# Shares of the training images beyond each limit: image quality, lesion size.
POOR_SHARE = 0.0025
TINY_SHARE = 0.005

LESION_FRACTION = "lesion_fraction"


class NamedFrames(NamedTuple):
    """Frames on which the limits are evaluated, and the name of their set."""

    name: str
    frames: Frames


def add_abstention(
    bundle: Bundle,
    out: Path,
    experiment: Experiment,
    *,
    version: str,
    ledger: Path,
    purpose: str | None,
    counted: NamedFrames | None = None,
    photographs: Photographs | None = None,
) -> Bundle:
    """Write ``bundle`` to ``out`` as ``version``, with limits fitted again by :func:`fit_abstention`.

    Raises :class:`BundleError` for a bundle that was trained on other images than ``experiment``'s, and for one whose
    graphs do not output features.
    """
    manifest = bundle.manifest
    for pictures in experiment.training_sets():
        if manifest.provenance.data.get(pictures.name) != pictures.digest:
            raise BundleError(f"{bundle.folder} was made from other images than those of {pictures.name} here")
    if FEATURES not in {spec.name for spec in manifest.outputs}:
        raise BundleError(f"{bundle.folder} has graphs that do not output features; export its run again")
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: bundle.path(name) for name in manifest.files}
        files |= {name: Path(scratch) / name for name in (FAMILIARITY_NAME, MODEL_CARD_NAME)}
        abstention = fit_abstention(
            experiment,
            {variant.name: bundle.path(variant.file) for variant in manifest.variants},
            manifest.outputs,
            files[FAMILIARITY_NAME],
            ledger=ledger,
            purpose=purpose,
            counted=counted,
            photographs=photographs,
        )
        card = with_abstention(
            bundle.model_card(),
            abstention,
            name=manifest.name,
            version=version,
            dermoscopy=experiment.dermoscopy_names(),
        )
        files[MODEL_CARD_NAME].write_text(card, encoding="utf-8")
        fields = manifest.model_dump(exclude={"schema_version", "files"})
        return write_bundle(out, files=files, manifest={**fields, "version": version, "abstention": abstention})


def fit_abstention(
    experiment: Experiment,
    graphs: Mapping[str, Path],
    outputs: Sequence[TensorSpec],
    gaussian_file: Path,
    *,
    ledger: Path,
    purpose: str | None,
    counted: NamedFrames | None = None,
    photographs: Photographs | None = None,
) -> Abstention:
    """Fit the limits with ``graphs["fp32"]``, write the features' Gaussian, and evaluate every variant on every set.

    The sets are validation, ``counted`` (anything but dermoscopy) and, with a ``purpose`` that ``ledger`` records,
    test. ``graphs`` are by variant; those whose provider is not available here are left out.
    """
    train, validation = experiment.training_sets()
    needed = [spec for spec in outputs if spec.name in (FEATURES, LESION_FRACTION)]
    with experiment.console.status(f"fitting the limits to {train.name}"):
        frames = np.asarray(train.frames)
        found = run_onnx(graphs["fp32"], frames, needed, batch=1)
        groups_N = np.arange(len(train)) if train.groups is None else kept_together(train)
        familiarity = fit_familiarity(
            lambda of: run_onnx(graphs["fp32"], of, needed, batch=1)[FEATURES],
            frames,
            groups_N,
            jpeg_quality=experiment.config.data.copies_jpeg_quality,
            photographs=photographs,
        )
        familiarity.distance.save(gaussian_file)
        gaussian = read_feature_distance(gaussian_file)
        fitted_on = f"{train.name} ({len(train)})" + ("" if photographs is None else f", {photographs.described()}")
        limits = fit_limits(frames, found, gaussian, familiarity.limit, fitted_on=fitted_on)
    sets = [NamedFrames(validation.name, np.asarray(validation.frames))]
    sets += [] if counted is None else [counted]
    test = None if purpose is None else experiment.frames(experiment.config.data.test)
    sets += [] if test is None else [NamedFrames(test.name, np.asarray(test.frames))]
    measured = []
    for variant, graph in graphs.items():
        if usable(provider_of(variant), graph):
            for images in sets:
                with experiment.console.status(f"counting {images.name} with {variant}"):
                    found = run_onnx(graph, images.frames, needed, batch=1)
                    measured.append(_count(images, variant, found, gaussian, limits))
    if test is not None and purpose is not None:
        shares = {f"abstained_{m.variant}": m.abstained.value for m in measured if m.measured_on == test.name}
        record_reading(ledger, test, purpose=purpose, weights_sha256=file_sha256(graphs["fp32"]), metrics=shares)
    return limits.model_copy(update={"measured": measured})


def read_frames(folder: Path, *, frame_size: int, jpeg_quality: int | None) -> NamedFrames:
    """The images in ``folder`` as frames for the graph. Raises ``ValueError`` for an empty folder or any other file."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder with images")
    frames = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            frames.append(read_picture(path.read_bytes(), frame_size, jpeg_quality=jpeg_quality).frame)
        except PictureError as error:
            raise ValueError(f"{path}: {error}") from error
    if not frames:
        raise ValueError(f"{folder} holds no images")
    return NamedFrames(folder.name, np.stack(frames))


def fit_limits(
    frames: Frames, found: Outputs, gaussian: FeatureDistance, max_unfamiliarity: float, *, fitted_on: str
) -> Abstention:
    """The limits that exclude the constant shares of the training images; not yet evaluated."""
    qualities = [measure_quality(*pair, gaussian) for pair in zip(frames, found[FEATURES], strict=True)]
    fractions = found[LESION_FRACTION]
    return Abstention(
        familiarity=FAMILIARITY_NAME,
        max_unfamiliarity=max_unfamiliarity,
        min_sharpness=float(np.quantile([q.sharpness for q in qualities], POOR_SHARE)),
        max_dark_share=float(np.quantile([q.dark_share for q in qualities], 1 - POOR_SHARE)),
        max_bright_share=float(np.quantile([q.bright_share for q in qualities], 1 - POOR_SHARE)),
        min_lesion_fraction=float(np.quantile(fractions[fractions > 0.0], TINY_SHARE)),
        fitted_on=fitted_on,
        measured=[],
    )


def exceeded_limits(
    frames: Frames, found: Outputs, gaussian: FeatureDistance, limits: Abstention
) -> list[list[LimitReason]]:
    """The limits that each frame exceeds, given the graph's outputs ``found``."""
    parts = zip(frames, found[FEATURES], found[LESION_FRACTION], strict=True)
    return [beyond_limits(measure_quality(f, features, gaussian), float(s), limits) for f, features, s in parts]


def abstains(exceeded: Sequence[LimitReason]) -> bool:
    """Whether an image that exceeds these limits gets no advice."""
    return bool(ABSTAINS & set(exceeded))


def _count(
    counted: NamedFrames, variant: str, found: Outputs, gaussian: FeatureDistance, limits: Abstention
) -> MeasuredAbstention:
    reasons = exceeded_limits(counted.frames, found, gaussian, limits)
    return MeasuredAbstention(
        measured_on=counted.name,
        variant=variant,
        num_pictures=len(reasons),
        abstained=proportion(sum(map(abstains, reasons)), len(reasons)),
        num_by_reason=dict(Counter(reason for exceeded in reasons for reason in exceeded)),
    )
