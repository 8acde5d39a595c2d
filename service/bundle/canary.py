"""The canary's prediction, and how it differs from the one in the manifest; pure functions.

The graph's outputs are arrays without names. Only the prediction shows whether they are still interpreted as when the
bundle was written: classes, which of them are malignant, thresholds, limits, feature distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from service.bundle.abstention import measure_quality
from service.bundle.classes import DiagnosisClass
from service.bundle.feature_distance import FeatureDistance, Features
from service.bundle.image_quality import Frame
from service.bundle.manifest import CanaryClass, CanaryDecision, CanaryPrediction, Manifest

# Between CPUs, GPUs and decoder versions, quality and feature distance change by less than this.
_RELATIVE, _ABSOLUTE = 0.05, 0.01


def malignancy(probabilities_K: NDArray[np.float32], classes: Sequence[DiagnosisClass]) -> float:
    """The summed probability of the malignant classes."""
    return float(probabilities_K[np.array([c.malignant for c in classes])].sum())


def interpret(
    manifest: Manifest,
    *,
    frame: Frame,
    probabilities_K: NDArray[np.float32],
    features: Features | None,
    distance: FeatureDistance | None,
) -> CanaryPrediction:
    """The prediction for a canary's ``frame`` ``[F, F, 3]`` with these outputs; ``features`` are ``[2, C]``."""
    quality = None
    if distance is not None and features is not None:
        quality = measure_quality(frame, features, distance)
    malignant = _share(malignancy(probabilities_K, manifest.classes))
    return CanaryPrediction(
        classes={
            c.name: CanaryClass(label=c.label, malignant=c.malignant, probability=_share(float(probability)))
            for c, probability in zip(manifest.classes, probabilities_K, strict=True)
        },
        malignant_probability=malignant,
        decisions={
            point.name: CanaryDecision(threshold=point.threshold, refer=malignant >= point.threshold)
            for point in manifest.operating_points
        },
        default_operating_point=manifest.default_operating_point,
        quality=quality,
        limits=None if manifest.abstention is None else manifest.abstention.limits(),
    )


def differences(found: CanaryPrediction, expected: CanaryPrediction, *, tolerance: float) -> list[str]:
    """How a prediction differs from the expected one, in words; ``tolerance`` is for probabilities."""
    return list(_differences(found, expected, tolerance))


def _differences(found: CanaryPrediction, expected: CanaryPrediction, tolerance: float) -> Iterator[str]:
    if list(found.classes) != list(expected.classes):
        yield f"the classes are {', '.join(found.classes)}, expected {', '.join(expected.classes)}"
    for name in (name for name in expected.classes if name in found.classes):
        here, there = found.classes[name], expected.classes[name]
        if here.label != there.label:
            yield f"{name} is labelled {here.label!r}, expected {there.label!r}"
        if here.malignant != there.malignant:
            yield f"{name} counts as {_kind(here)}, expected {_kind(there)}"
        if not abs(here.probability - there.probability) <= tolerance:
            yield f"the probability of {name} is {here.probability:.3g}, expected {there.probability:.3g}"
    if not abs(found.malignant_probability - expected.malignant_probability) <= tolerance * len(found.classes):
        yield (
            f"the malignant probability is {found.malignant_probability:.3g}, "
            f"expected {expected.malignant_probability:.3g}"
        )
    if found.decisions.keys() != expected.decisions.keys():
        yield f"the operating points are {', '.join(found.decisions)}, expected {', '.join(expected.decisions)}"
    if found.default_operating_point != expected.default_operating_point:
        yield (
            f"the default operating point is {found.default_operating_point}, "
            f"expected {expected.default_operating_point}"
        )
    for name in (name for name in expected.decisions if name in found.decisions):
        decision, right = found.decisions[name], expected.decisions[name]
        if decision.threshold != right.threshold:
            yield f"the threshold of {name} is {decision.threshold:.3g}, expected {right.threshold:.3g}"
        # Rounding may move a probability close to the threshold across it.
        is_close = abs(expected.malignant_probability - right.threshold) <= tolerance * len(found.classes)
        if decision.refer != right.refer and not is_close:
            yield f"{name} advises {_advice(decision)}, expected {_advice(right)}"
    if found.limits != expected.limits:
        yield f"the limits are {_listed(found.limits)}, expected {_listed(expected.limits)}"
    yield from _quality_differences(found, expected)


def _quality_differences(found: CanaryPrediction, expected: CanaryPrediction) -> Iterator[str]:
    if found.quality is None or expected.quality is None:
        if found.quality is not expected.quality:
            yield "the image's quality is measured in only one of both"
        return
    for name, value in vars(found.quality).items():
        wanted = getattr(expected.quality, name)
        if not math.isclose(value, wanted, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
            yield f"{name} is {value:.3g}, expected {wanted:.3g}"


def _share(value: float) -> float:
    """At most 1, which a sum of softmax values may exceed by rounding."""
    return min(1.0, value)


def _kind(diagnosis: CanaryClass) -> str:
    return "malignant" if diagnosis.malignant else "benign"


def _listed(limits: dict[str, float] | None) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in (limits or {}).items()) or "none"


def _advice(decision: CanaryDecision) -> str:
    return "a referral" if decision.refer else "none"
