"""How much the lesion feature attention of a bundle acts on its answers: what its maps are worth as evidence.

Measured on the float32 graph itself, so that it holds for what is served. The terms alpha (Q . F) and beta (P * F) of
Eqn 3 are switched off by setting their factors to zero.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from model_training.arrays import Frames
from model_training.evaluation.calibration import proportion
from model_training.evaluation.module_figures import row_spread
from model_training.release.parity import run_onnx
from service.bundle import AttentionInfluence, Bundle, BundleError, malignancy

_BATCH = 16


def switch_attention_off(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with alpha and beta of Eqn 3 at zero, in every branch.

    Both are found by their place: scalars that two products have, which are added. Raises :class:`BundleError` for a
    graph without such a sum.
    """
    off = onnx.ModelProto()
    off.CopyFrom(graph)
    scalars = {each.name: each for each in off.graph.initializer if np.prod(each.dims) == 1}
    factor_of = {
        node.output[0]: factors[0]
        for node in off.graph.node
        if node.op_type == "Mul" and len(factors := [name for name in node.input if name in scalars]) == 1
    }
    sums = [node for node in off.graph.node if node.op_type == "Add" and all(name in factor_of for name in node.input)]
    if not sums:
        raise BundleError("the graph has no lesion feature attention to switch off")
    for name in {factor_of[term] for node in sums for term in node.input}:
        zero = np.zeros_like(numpy_helper.to_array(scalars[name]))
        scalars[name].CopyFrom(numpy_helper.from_array(zero, name))
    return off


def measure_influence(bundle: Bundle, frames: Frames, *, measured_on: str) -> AttentionInfluence:
    """What switching it off changes in the malignant probability and in the advice at the default operating point.

    Raises :class:`BundleError` for a bundle without lesion feature attention.
    """
    manifest = bundle.manifest
    specs = [spec for spec in manifest.outputs if spec.name in ("probabilities", "correlation_attention")]
    if len(specs) < 2:
        raise BundleError("the bundle has no lesion feature attention")
    path = bundle.path(next(variant.file for variant in manifest.variants if variant.name == "fp32"))
    acting = run_onnx(path, frames, specs, _BATCH)
    with tempfile.TemporaryDirectory() as scratch:
        idle = Path(scratch) / "off.onnx"
        onnx.save_model(switch_attention_off(onnx.load(path)), idle)
        without = run_onnx(idle, frames, specs[:1], _BATCH)
    malignancy_2N = np.array(
        [[malignancy(row_K, manifest.classes) for row_K in each["probabilities"]] for each in (acting, without)]
    )
    change_N = np.abs(np.diff(malignancy_2N, axis=0)[0])
    refers_2N = malignancy_2N >= manifest.operating_point().threshold
    correlation_NBMM = torch.from_numpy(acting["correlation_attention"])
    return AttentionInfluence(
        measured_on=measured_on,
        num_images=len(frames),
        median_change=float(np.median(change_N)),
        percentile_95_change=float(np.quantile(change_N, 0.95)),
        other_advice=proportion(int((refers_2N[0] != refers_2N[1]).sum()), len(frames)),
        row_spread=float(row_spread(correlation_NBMM.flatten(0, 1)).mean()),
    )
