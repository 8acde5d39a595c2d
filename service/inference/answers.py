"""Run a session: frames in, checked answers out; and the error types of what may fail.

All outputs, the crop box among them, are computed in the graph (:mod:`model_training.release.deployed`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import FEATURES
from service.inference.sessions import Outputs, Session

# Error texts of ONNX Runtime, CUDA, cuBLAS and cuDNN when memory is short; they have no error type for it.
_NO_MEMORY = ("failed to allocate memory", "out of memory", "alloc_failed", "bad_alloc")

# How far from 1 the sum of probabilities may be; float16 arithmetic stays well below.
_SUM_TOLERANCE = 5e-3

_FINITE = {"crop_box", "lesion_fraction", "spatial_attention", "correlation_attention", FEATURES}


class EngineError(RuntimeError):
    """The engine cannot be started, or its outputs are impossible."""


class DeviceError(EngineError):
    """ONNX Runtime or the device failed: no later answer can be trusted.

    Every input has the same shape and type, so an image never causes this. ``reason`` has no machine names or paths
    and may be shown to clients.
    """

    def __init__(self, reason: str, detail: object = None) -> None:
        super().__init__(reason if detail is None else f"{reason}: {detail}")
        self.reason = reason


class CanaryError(EngineError):
    """The canary image got another answer than the bundle expects; the text may be shown to clients."""


class OutOfMemory(EngineError):  # noqa: N818 - named for what happened
    """The device had too little memory for this batch; a smaller batch or a later run may succeed."""


@dataclass(frozen=True)
class Answer:
    """The graph's outputs for one image; None where the network has no lesion feature attention, or no features.

    The queue adds the seconds that the image waited and ran.
    """

    probabilities: NDArray[np.float32]  # [K]
    branch_probabilities: NDArray[np.float32]  # [2, K]
    lesion_attention: NDArray[np.uint8]  # [S, S]
    crop_box: NDArray[np.float32]  # [4], x0, y0, x1, y1 as fractions of the image
    lesion_fraction: float
    spatial_attention: NDArray[np.float32] | None  # [2, h, w]
    correlation_attention: NDArray[np.float32] | None  # [2, h*w, h*w]
    features: NDArray[np.float32] | None = None  # [2, C], pooled in each branch
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0


def run(session: Session, frames: NDArray[np.uint8]) -> list[Answer]:
    """The checked answers for frames ``[batch, F, F, 3]``, sRGB.

    Raises :class:`OutOfMemory`; :class:`DeviceError` for any other failure of ONNX Runtime; and :class:`EngineError`
    for probabilities that do not sum to 1, and for outputs that are not finite.
    """
    try:
        outputs = session.run(frames)
    except Exception as error:
        if any(words in str(error).lower() for words in _NO_MEMORY):
            raise OutOfMemory(f"no memory for a batch of {len(frames)}: {error}") from error
        raise DeviceError("ONNX Runtime failed", error) from error
    for name in ("probabilities", "branch_probabilities"):
        _check_probabilities(outputs[name], name)
    for name in _FINITE & outputs.keys():
        if not np.isfinite(outputs[name]).all():
            raise EngineError(f"{name} is not finite")
    return [_answer(outputs, index) for index in range(len(frames))]


def are_identical(one: Answer, other: Answer) -> bool:
    """Whether two answers are bit-identical, which those of different images should not be."""
    return np.array_equal(one.branch_probabilities, other.branch_probabilities) and np.array_equal(
        one.lesion_attention, other.lesion_attention
    )


def _answer(outputs: Outputs, index: int) -> Answer:
    def optional(name: str) -> NDArray[np.float32] | None:
        return outputs[name][index].astype(np.float32, copy=False) if name in outputs else None

    return Answer(
        probabilities=outputs["probabilities"][index],
        branch_probabilities=outputs["branch_probabilities"][index],
        lesion_attention=outputs["lesion_attention"][index],
        crop_box=outputs["crop_box"][index].clip(0.0, 1.0),
        lesion_fraction=float(outputs["lesion_fraction"][index].clip(0.0, 1.0)),
        spatial_attention=optional("spatial_attention"),
        correlation_attention=optional("correlation_attention"),
        features=optional(FEATURES),
    )


def _check_probabilities(values: NDArray[Any], name: str) -> None:
    # NaN compares false, so it is rejected as well.
    if not (np.abs(values.sum(axis=-1) - 1.0) < _SUM_TOLERANCE).all() or not (values >= 0.0).all():
        raise EngineError(f"{name} do not sum to 1")
