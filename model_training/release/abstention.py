"""When a model gives no advice: limits fitted to its training pictures, with the float32 graph that is served.

How familiar a picture is comes from the network's features, the rest from its pixels. Every limit leaves out a small
share of the training pictures; for familiarity each is judged by a Gaussian that was fitted without it. Pictures of
validation and test, and others, are counted, with every variant's graph. How the constants came about is said
in ``docs/RESULTS.md``, as far as it was recorded.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_training.evaluation.calibration import proportion
from model_training.evaluation.test_ledger import record_reading
from model_training.release.parity import Outputs, run_onnx, usable
from model_training.release.variants import PRECISIONS
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
    Variant,
    beyond_limits,
    fit_feature_distance,
    measure_quality,
    read_feature_distance,
    write_bundle,
)
from service.imaging import PictureError, read_picture

NUM_COMPONENTS = 128
NUM_FOLDS = 5

# Shares of the training pictures beyond each limit.
UNFAMILIAR_SHARE = 0.01
POOR_SHARE = 0.0025
TINY_SHARE = 0.005

Frames = NDArray[np.uint8]  # [N, F, F, 3]


@dataclass(frozen=True)
class Judged:
    """Frames that are counted, and what they are called."""

    name: str
    frames: Frames


def add_abstention(
    bundle: Bundle,
    out: Path,
    experiment: Experiment,
    *,
    ledger: Path,
    purpose: str | None,
    photographs: Judged | None = None,
    version: str | None = None,
) -> Bundle:
    """Write ``bundle`` to ``out`` with limits at which it abstains, and with what came of them on each set.

    The test set is read with a ``purpose`` only, which ``ledger`` gets to know. ``photographs`` show anything but
    dermoscopy. Raises :class:`BundleError` for a bundle that was trained on other pictures than ``experiment`` has, and
    for one whose graphs have no output with features.
    """
    manifest = bundle.manifest
    train, validation = experiment.training_sets()
    for pictures in (train, validation):
        if manifest.provenance.data.get(pictures.name) != pictures.digest:
            raise BundleError(f"{bundle.folder} was made from other pictures than those of {pictures.name} here")
    version = version or manifest.version
    features = next((spec for spec in manifest.outputs if spec.name == FEATURES), None)
    if features is None:
        raise BundleError(f"{bundle.folder} has graphs that do not tell their features; export its run again")
    graphs = {variant.name: bundle.path(variant.file) for variant in manifest.variants}
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: bundle.path(name) for name in manifest.files}
        with experiment.console.status(f"fitting the limits to {train.name}"):
            found = examine(graphs["fp32"], np.asarray(train.frames), features)
            files[FAMILIARITY_NAME] = Path(scratch) / FAMILIARITY_NAME
            fit_feature_distance(found[FEATURES], num_components=NUM_COMPONENTS).save(files[FAMILIARITY_NAME])
            distance = read_feature_distance(files[FAMILIARITY_NAME])
            limits = fit_limits(np.asarray(train.frames), found, distance, fitted_on=f"{train.name} ({len(train)})")
        sets = [Judged(validation.name, np.asarray(validation.frames))]
        sets += [] if photographs is None else [photographs]
        test = None if purpose is None else experiment.frames(experiment.config.data.test)
        sets += [] if test is None else [Judged(test.name, np.asarray(test.frames))]
        measured = []
        for variant in manifest.variants:
            if usable(_provider(variant), graphs[variant.name]):
                for judged in sets:
                    with experiment.console.status(f"examining {judged.name} with {variant.name}"):
                        measured.append(_measure(judged, variant, graphs[variant.name], features, distance, limits))
        if test is not None and purpose is not None:
            weights = manifest.files[bundle.variant("fp32").file]
            told = {f"abstained_{m.variant}": m.abstained.value for m in measured if m.measured_on == test.name}
            record_reading(ledger, test, purpose=purpose, weights_sha256=weights, metrics=told)
        abstention = limits.model_copy(update={"measured": measured})
        files[MODEL_CARD_NAME] = Path(scratch) / MODEL_CARD_NAME
        card = with_abstention(bundle.model_card(), abstention, name=manifest.name, version=version)
        files[MODEL_CARD_NAME].write_text(card, encoding="utf-8")
        fields = manifest.model_dump(exclude={"schema_version", "files"})
        changed = {"version": version, "abstention": abstention}
        return write_bundle(out, files=files, manifest={**fields, **changed})


def read_judged(folder: Path, *, frame_size: int, jpeg_quality: int | None) -> Judged:
    """The pictures in a folder, as the graph takes them. Raises ``ValueError`` for a folder without, and for others."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder with pictures")
    frames = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            frames.append(read_picture(path.read_bytes(), frame_size, jpeg_quality=jpeg_quality).frame)
        except PictureError as error:
            raise ValueError(f"{path}: {error}") from error
    if not frames:
        raise ValueError(f"{folder} holds no pictures")
    return Judged(folder.name, np.stack(frames))


def examine(graph: Path, frames: Frames, features: TensorSpec) -> Outputs:
    """The outputs that limits are about, for frames ``[N, F, F, 3]``."""
    fraction = TensorSpec(name="lesion_fraction", dtype="float32", shape=["batch"], meaning="the lesion's share")
    return run_onnx(graph, frames, [features, fraction], batch=1)


def fit_limits(frames: Frames, found: Outputs, distance: FeatureDistance, *, fitted_on: str) -> Abstention:
    """The limits that leave out the stated shares of training pictures; nothing is measured yet."""
    qualities = [measure_quality(*pair, distance) for pair in zip(frames, found[FEATURES], strict=True)]
    fractions = found["lesion_fraction"]
    return Abstention(
        familiarity=FAMILIARITY_NAME,
        max_unfamiliarity=float(np.quantile(cross_fitted(found[FEATURES]), 1 - UNFAMILIAR_SHARE)),
        min_sharpness=float(np.quantile([q.sharpness for q in qualities], POOR_SHARE)),
        max_dark_share=float(np.quantile([q.dark_share for q in qualities], 1 - POOR_SHARE)),
        max_bright_share=float(np.quantile([q.bright_share for q in qualities], 1 - POOR_SHARE)),
        min_lesion_fraction=float(np.quantile(fractions[fractions > 0.0], TINY_SHARE)),
        fitted_on=fitted_on,
        measured=[],
    )


def cross_fitted(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The unfamiliarity of each of ``[N, 2, C]`` features to a Gaussian fitted to the four fifths that it is not in."""
    fold_N = np.random.default_rng(0).permutation(len(features)) % NUM_FOLDS
    scores_N = np.empty(len(features))
    for fold in range(NUM_FOLDS):
        fitted = fit_feature_distance(features[fold_N != fold], num_components=NUM_COMPONENTS)
        scores_N[fold_N == fold] = fitted.of(features[fold_N == fold])
    return scores_N


def judge(frames: Frames, found: Outputs, distance: FeatureDistance, limits: Abstention) -> list[list[LimitReason]]:
    """The limits that each frame is beyond, with the network's features of it and the lesion's share in ``found``."""
    parts = zip(frames, found[FEATURES], found["lesion_fraction"], strict=True)
    return [beyond_limits(measure_quality(f, features, distance), float(s), limits) for f, features, s in parts]


def _measure(
    judged: Judged, variant: Variant, graph: Path, features: TensorSpec, distance: FeatureDistance, limits: Abstention
) -> MeasuredAbstention:
    reasons = judge(judged.frames, examine(graph, judged.frames, features), distance, limits)
    num_abstained = sum(bool(ABSTAINS & set(beyond)) for beyond in reasons)
    return MeasuredAbstention(
        measured_on=judged.name,
        variant=variant.name,
        num_pictures=len(reasons),
        abstained=proportion(num_abstained, len(reasons)),
        num_by_reason=dict(Counter(reason for beyond in reasons for reason in beyond)),
    )


def _provider(variant: Variant) -> Any:
    return next((precision.provider for precision in PRECISIONS if precision.name == variant.name), "cpu")
