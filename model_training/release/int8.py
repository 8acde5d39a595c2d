"""The int8 variant for CPUs: most convolutions on uint8 activations and int8 weights, calibrated on training images.

Parts that change answers when rounded stay in floating point: the lesion area attention, which determines the crop box;
the finest convolutions of both branches, whose error all later layers propagate; both attention maps; the classifier.
The parts were chosen by measurements on training images.
"""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

# Number of training images that calibrate the ranges of activations.
NUM_CALIBRATION = 96

# Percentage of an activation's values within its range: covering outliers would cost the others precision.
RANGE_PERCENTILE = 99.999

# Images whose activations are in memory at the same time.
_CALIBRATION_STRIDE = 4

_QUANTISED_WEIGHTS = re.compile(r"branches\.\d\.features\.stages\.layer[234]\.")


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no annotations
    """Frames ``[N, F, F, 3]``, one by one."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._frames = frames
        self.set_range(0, len(frames))

    def __len__(self) -> int:
        return len(self._frames)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Set the range of frames that :meth:`get_next` returns."""
        self._next, self._end = start_index, min(end_index, len(self._frames))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next frame, as a batch of one."""
        if self._next >= self._end:
            return None
        self._next += 1
        return {"image": self._frames[self._next - 1][None]}


def quantise(
    graph: Path, out: Path, frames: NDArray[np.uint8], *, weights: re.Pattern[str] = _QUANTISED_WEIGHTS
) -> None:
    """Write the int8 form of the float32 ``graph``, calibrated on training frames ``[N, F, F, 3]``, to ``out``.

    Convolutions whose weights have such names are in int8.
    """
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(graph, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    names = {initializer.name for initializer in model.graph.initializer}
    convolutions = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and any(name in names and weights.search(name) for name in node.input)
    ]
    # ONNX Runtime takes whole strides alone.
    stride = min(_CALIBRATION_STRIDE, len(frames))
    frames = frames[: len(frames) // stride * stride]
    with redirect_stdout(io.StringIO()):  # it prints every step
        quantize_static(
            prepared,
            out,
            _Pictures(frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=convolutions,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                "CalibPercentile": RANGE_PERCENTILE,
                "CalibStridedMinMax": stride,
            },
        )
    prepared.unlink()
