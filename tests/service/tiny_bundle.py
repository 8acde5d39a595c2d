"""A bundle with the contract's inputs and outputs around a graph so small that its answers can be worked out by hand.

Dark is lesion. The mean red, green and blue of the picture (branch 1) and of its left half (branch 2) are the evidence
for melanoma, seborrheic keratosis and nevus, and the features. Attention is darkness.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from PIL import Image

from service.bundle import (
    CANARY_OUTPUTS_NAME,
    CANARY_PICTURE_NAME,
    FAMILIARITY_NAME,
    MODEL_CARD_NAME,
    Abstention,
    Bundle,
    fit_feature_distance,
    write_bundle,
)
from service.imaging import read_picture

FRAME, SIZE, SIDE = 64, 32, 4
CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")
SHARPNESS = 6.0
THRESHOLD = 0.4
PREVALENCE = {"melanoma": 0.25, "seborrheic_keratosis": 0.25, "nevus": 0.5}

# Light skin with a dark square is within them.
LIMITS = Abstention(
    familiarity=FAMILIARITY_NAME,
    max_unfamiliarity=6.0,
    min_sharpness=0.2,
    max_dark_share=0.5,
    max_bright_share=0.6,
    min_lesion_fraction=0.02,
    fitted_on="nothing",
    measured=[],
)

Frame = NDArray[np.uint8]
Outputs = dict[str, NDArray[Any]]

_HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (uint8[batch,64,64,3] image) => (float[batch,3] probabilities, float[batch,2,3] branch_probabilities,
  uint8[batch,32,32] lesion_attention, float[batch,4] crop_box, float[batch] lesion_fraction{extra})
{{
  full = Constant<value_float = 255.0>()
  one = Constant<value_float = 1.0>()
  nothing = Constant<value_float = 0.0>()
  half = Constant<value_float = 0.5>()
  axis_1 = Constant<value_ints = [1]>()
  axis_2 = Constant<value_ints = [2]>()
  axis_3 = Constant<value_ints = [3]>()
  axes_12 = Constant<value_ints = [1, 2]>()
  values = Cast<to = 1>(image)
  picture = Div(values, full)

  zeros = Constant<value_ints = [0]>()
  middle = Constant<value_ints = [32]>()
  left = Slice(picture, zeros, middle, axis_2)
  sharpness = Constant<value_float = 6.0>()
  mean = ReduceMean<keepdims = 0>(picture, axes_12)
  mean_left = ReduceMean<keepdims = 0>(left, axes_12)
  logits_1 = Mul(mean, sharpness)
  logits_2 = Mul(mean_left, sharpness)
  branch_1 = Softmax<axis = -1>(logits_1)
  branch_2 = Softmax<axis = -1>(logits_2)
  branch_1_row = Unsqueeze(branch_1, axis_1)
  branch_2_row = Unsqueeze(branch_2, axis_1)
  branch_probabilities = Concat<axis = 1>(branch_1_row, branch_2_row)
  probabilities = ReduceMean<keepdims = 0>(branch_probabilities, axis_1)

  grey = ReduceMean<keepdims = 0>(picture, axis_3)
  grey_plane = Unsqueeze(grey, axis_1)
  grey_small = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(grey_plane)
  grey_map = Squeeze(grey_small, axis_1)
  attention = Sub(one, grey_map)
  attention_255 = Mul(attention, full)
  attention_rounded = Round(attention_255)
  lesion_attention = Cast<to = 2>(attention_rounded)
  is_lesion = Greater(attention, half)
  lesion = Cast<to = 1>(is_lesion)
  lesion_fraction = ReduceMean<keepdims = 0>(lesion, axes_12)

  columns = ReduceMax<keepdims = 0>(lesion, axis_1)
  rows = ReduceMax<keepdims = 0>(lesion, axis_2)
  has_column = Cast<to = 9>(columns)
  has_row = Cast<to = 9>(rows)
  zero_index = Constant<value_float = 0.0>()
  end_index = Constant<value_float = 32.0>()
  index = Range(zero_index, end_index, one)
  next_index = Add(index, one)
  x0s = Where(has_column, index, end_index)
  x1s = Where(has_column, next_index, nothing)
  y0s = Where(has_row, index, end_index)
  y1s = Where(has_row, next_index, nothing)
  x0 = ReduceMin<keepdims = 1>(x0s, axis_1)
  x1 = ReduceMax<keepdims = 1>(x1s, axis_1)
  y0 = ReduceMin<keepdims = 1>(y0s, axis_1)
  y1 = ReduceMax<keepdims = 1>(y1s, axis_1)
  box_pixels = Concat<axis = 1>(x0, y0, x1, y1)
  box = Div(box_pixels, end_index)
  whole = Constant<value_floats = [0.0, 0.0, 1.0, 1.0]>()
  is_found = Greater(lesion_fraction, nothing)
  is_found_column = Unsqueeze(is_found, axis_1)
  crop_box = Where(is_found_column, box, whole)
"""

_FEATURE_ATTENTION = """
  dark_plane = Sub(one, grey_plane)
  dark = AveragePool<kernel_shape = [16, 16], strides = [16, 16]>(dark_plane)
  epsilon = Constant<value_float = 1e-6>()
  dark_positive = Add(dark, epsilon)
  axes_23 = Constant<value_ints = [2, 3]>()
  dark_sum = ReduceSum<keepdims = 1>(dark_positive, axes_23)
  spatial = Div(dark_positive, dark_sum)
  spatial_attention = Concat<axis = 1>(spatial, spatial)
  column_shape = Constant<value_ints = [0, 2, 16, 1]>()
  row_shape = Constant<value_ints = [0, 2, 1, 16]>()
  spatial_column = Reshape(spatial_attention, column_shape)
  spatial_row = Reshape(spatial_attention, row_shape)
  correlation_attention = MatMul(spatial_column, spatial_row)
"""

_FEATURES = """
  features_1 = Unsqueeze(mean, axis_1)
  features_2 = Unsqueeze(mean_left, axis_1)
  features = Concat<axis = 1>(features_1, features_2)
"""

_FEATURE_OUTPUTS = ", float[batch,2,4,4] spatial_attention, float[batch,2,16,16] correlation_attention"


def expected_outputs(frame: Frame) -> Outputs:
    """What the graph gives for one frame, worked out with NumPy; each with a batch of one."""
    picture = frame.astype(np.float64) / 255.0
    features = np.stack([part.mean(axis=(0, 1)) for part in (picture, picture[:, : FRAME // 2])])
    branches = np.stack([_softmax(SHARPNESS * row) for row in features])
    grey = picture.mean(axis=2)
    attention = 1.0 - _pooled(grey, SIZE)
    rows, columns = np.nonzero(attention > 0.5)
    box = [0.0, 0.0, 1.0, 1.0]
    if len(rows):
        box = [columns.min() / SIZE, rows.min() / SIZE, (columns.max() + 1) / SIZE, (rows.max() + 1) / SIZE]
    spatial = _pooled(1.0 - grey, SIDE) + 1e-6
    spatial /= spatial.sum()
    correlation = np.outer(spatial, spatial)
    outputs = {
        "probabilities": branches.mean(axis=0),
        "branch_probabilities": branches,
        "lesion_attention": (attention * 255.0).round(),
        "crop_box": np.array(box),
        "lesion_fraction": np.array((attention > 0.5).mean()),
        "spatial_attention": np.stack([spatial, spatial]),
        "correlation_attention": np.stack([correlation, correlation]),
        "features": features,
    }
    return {
        name: array[None].astype(np.uint8 if name == "lesion_attention" else np.float32)
        for name, array in outputs.items()
    }


def write_tiny_bundle(
    folder: Path,
    *,
    feature_attention: bool = True,
    limits: bool = False,
    wrong_canary: bool = False,
    graph: str | None = None,
) -> Bundle:
    """Write the bundle to ``folder``; with ``limits`` it may abstain. ``graph`` replaces the graph's text."""
    work = folder.with_name(f"{folder.name}-work")
    work.mkdir(parents=True)
    text = graph or graph_text(feature_attention=feature_attention, features=limits)
    onnx.save_model(onnx.parser.parse_model(text), work / "tiny.onnx")
    canary = picture_bytes(dark_square(), "JPEG")
    (work / CANARY_PICTURE_NAME).write_bytes(canary)
    outputs = expected_outputs(read_picture(canary, FRAME).frame)
    if not feature_attention:
        del outputs["spatial_attention"], outputs["correlation_attention"]
    if not limits:
        del outputs["features"]
    if wrong_canary:
        outputs["branch_probabilities"] = outputs["branch_probabilities"][..., ::-1]
    np.savez(work / CANARY_OUTPUTS_NAME, **outputs)  # type: ignore[arg-type]
    (work / MODEL_CARD_NAME).write_text("# Tiny\n\nFor tests only.\n", encoding="utf-8")
    files = {f: work / f for f in ("tiny.onnx", CANARY_PICTURE_NAME, CANARY_OUTPUTS_NAME, MODEL_CARD_NAME)}
    fields = _manifest(outputs)
    if limits:
        files[FAMILIARITY_NAME] = work / FAMILIARITY_NAME
        skin = np.random.default_rng(0).normal((0.75, 0.5, 0.45), 0.05, (100, 2, 3)).astype(np.float32)
        fit_feature_distance(skin, num_components=1).save(files[FAMILIARITY_NAME])
        fields["abstention"] = LIMITS
    return write_bundle(folder, files=files, manifest=fields)


def graph_text(*, feature_attention: bool = True, features: bool = False) -> str:
    """The graph in ONNX's text form."""
    outputs = (_FEATURE_OUTPUTS if feature_attention else "") + (", float[batch,2,3] features" if features else "")
    tail = (_FEATURE_ATTENTION if feature_attention else "") + (_FEATURES if features else "")
    return _HEAD.format(extra=outputs) + tail + "}"


def _manifest(outputs: Outputs) -> dict[str, Any]:
    interval = {"value": 0.9, "low": 0.8, "high": 0.95}
    point = {"sensitivity": interval, "specificity": interval, "measured_on": "nothing"}
    labels = {"melanoma": "Melanoma", "seborrheic_keratosis": "Seborrheic keratosis", "nevus": "Nevus"}
    return {
        "name": "tiny",
        "version": "0.0.1",
        "classes": [{"name": n, "label": labels[n], "malignant": n == "melanoma"} for n in CLASSES],
        "frame_size": FRAME,
        "network_size": SIZE,
        "input": {"name": "image", "dtype": "uint8", "shape": ["batch", FRAME, FRAME, 3], "meaning": "the picture"},
        "outputs": [
            {"name": name, "dtype": str(array.dtype), "shape": ["batch", *array.shape[1:]], "meaning": name}
            for name, array in outputs.items()
        ],
        "variants": [{"name": "fp32", "file": "tiny.onnx", "description": "the only one", "gate": {}}],
        "temperature": [1.0, 1.0],
        "prevalence": PREVALENCE,
        "operating_points": [
            {"name": "balanced", "threshold": THRESHOLD, **point},
            {"name": "high-sensitivity", "threshold": 0.1, **point, "sensitivity": {**interval, "value": 0.95}},
        ],
        "default_operating_point": "balanced",
        "reference": {
            "measured_on": "tests",
            "num_pictures": 10,
            "probabilities": {name: {"edges": [0.0, 0.3, 1.0], "shares": [0.6, 0.4]} for name in CLASSES},
        },
        "provenance": {
            "git_commit": "0" * 40,
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "start": "none",
            "data": {},
            "seeds": [0],
            "config": {},
            "metrics": {},
        },
        "licence": "CC0",
        "intended_use": "tests",
        "canary": {
            "picture": CANARY_PICTURE_NAME,
            "outputs": CANARY_OUTPUTS_NAME,
            "tolerance": 1e-3,
            "source": "drawn, CC0",
        },
    }


def dark_square(colour: tuple[int, int, int] = (120, 20, 20), *, side: int = 256, start: int = 64) -> Image.Image:
    """Light skin with a dark reddish square of half the side."""
    picture = Image.new("RGB", (side, side), (230, 200, 190))
    picture.paste(colour, (start, start, start + side // 2, start + side // 2))
    return picture


def picture_bytes(picture: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _pooled(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    step = len(values) // side
    return values.reshape(side, step, side, step).mean(axis=(1, 3))
