"""The effect of blur and wrong exposure on referrals, and how many such pictures the limits catch; on validation."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import measure, proportion
from model_training.release.abstention import LESION_FRACTION, exceeded_limits, num_abstained
from model_training.release.parity import run_onnx
from service.bundle import FEATURES, Bundle, BundleError

Frame = NDArray[np.uint8]  # [F, F, 3]


class Degradation(NamedTuple):
    """A loss of image quality; ``level`` is the blur's radius in pixels of the frame, or the factor of the light."""

    kind: str
    level: float
    change: Callable[[Image.Image], Image.Image]


def blurred(radius: float) -> Degradation:
    """Gaussian blur of that radius."""
    return Degradation("blur", radius, lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)))


def lit(factor: float) -> Degradation:
    """Brightness multiplied by ``factor``, clipped at white."""
    return Degradation("light", factor, lambda picture: picture.point(lambda value: min(255, value * factor)))


DEGRADATIONS = (
    lit(1.0),
    *(blurred(radius) for radius in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)),
    *(lit(factor) for factor in (0.6, 0.5, 0.4, 0.3, 0.2)),
    *(lit(factor) for factor in (1.4, 1.7, 2.0, 2.5, 3.0)),
)

_OUTPUTS = ("probabilities", LESION_FRACTION, FEATURES)


def measure_robustness(bundle: Bundle, pictures: FrameSet) -> list[dict[str, Any]]:
    """Rates at the default operating point if no picture abstained, and the share that abstains, for each degradation.

    Uses the float32 graph. Raises :class:`BundleError` for a bundle without limits to abstain at.
    """
    manifest, limits, gaussian = bundle.manifest, bundle.manifest.abstention, bundle.feature_distance()
    if limits is None or gaussian is None:
        raise BundleError(f"{bundle.folder} has no limits to abstain at; give it some: cin-train abstention")
    malignant_K = np.array([c.malignant for c in manifest.classes])
    point = manifest.operating_point()
    graph, specs = bundle.path(bundle.variant("fp32").file), [s for s in manifest.outputs if s.name in _OUTPUTS]
    rows: list[dict[str, Any]] = []
    for degradation in DEGRADATIONS:
        frames = np.stack([_degrade(frame, degradation, manifest.frame_jpeg_quality) for frame in pictures.frames])
        found = run_onnx(graph, frames, specs, batch=1)
        scores_N = found["probabilities"][:, malignant_K].sum(axis=1)
        rates = measure(point.name, point.threshold, malignant_K[pictures.labels], scores_N, measured_on=pictures.name)
        abstained = num_abstained(exceeded_limits(frames, found, gaussian, limits))
        rows.append(
            {
                "kind": degradation.kind,
                "level": degradation.level,
                "sensitivity": rates.sensitivity.model_dump(),
                "specificity": rates.specificity.model_dump(),
                "abstained": proportion(abstained, len(frames)).model_dump(),
            }
        )
    return rows


def _degrade(frame: Frame, degradation: Degradation, jpeg_quality: int | None) -> Frame:
    """The degraded frame, compressed again where the set holds JPEG copies."""
    picture = degradation.change(Image.fromarray(frame))
    if jpeg_quality is None:
        return np.asarray(picture)
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=jpeg_quality)
    return np.asarray(Image.open(stored).convert("RGB"))
