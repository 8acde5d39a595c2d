"""The network as one ONNX graph, and the form in which it is shipped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from model_training.deployed import MIN_HALF_PRECISION_SIZE, DeployedCIN, features_spec
from model_training.network.cin import NUM_BRANCHES
from service.bundle import TensorSpec

OPSET = 20


def export_graph(network: DeployedCIN, path: Path, *, frame_size: int, specs: Sequence[TensorSpec]) -> None:
    """Write the network as one ONNX file with a dynamic batch."""
    example = torch.zeros(2, frame_size, frame_size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["image"],
        output_names=[spec.name for spec in specs],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    onnx.save_model(program.model_proto, path)


def ship_graph(graph: Path, path: Path) -> None:
    """Write the graph as it is shipped: checked, its large float32 weights stored as float16."""
    model = onnx.load(graph)
    store_half_precision(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def store_half_precision(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, where that loses nothing, behind a cast that is folded at load time."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < MIN_HALF_PRECISION_SIZE:
            continue
        values = numpy_helper.to_array(weight)
        halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halved, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [f"{name}_float16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


# The first layer of a branch's classifier; the second number tells float16 weights from those they are cast to.
_CLASSIFIER = re.compile(r"branches\.(\d)\.classify\.0\.weight(_float16)?$")


def expose_features(model: onnx.ModelProto) -> TensorSpec:
    """Make what the branches' classifiers see an output of a graph, in place, unless it is; nothing else changes.

    For graphs exported before that was an output. Raises ``ValueError`` for a graph without such classifiers.
    """
    graph = model.graph
    widths = [weight.dims[1] for weight in graph.initializer if _CLASSIFIER.search(weight.name)]
    pooled = [node.input[0] for node in graph.node if node.op_type == "Gemm" and _CLASSIFIER.search(node.input[1])]
    if not pooled or len(set(widths)) != 1:
        raise ValueError("not a graph of this network: no classifiers were found in it")
    spec = features_spec(widths[0])
    if spec.name in [output.name for output in graph.output]:
        return spec
    rows, axis = [f"{spec.name}_{name}" for name in pooled], f"{spec.name}_axis"
    graph.initializer.append(numpy_helper.from_array(np.array([1], dtype=np.int64), axis))
    graph.node.extend(
        helper.make_node("Unsqueeze", [name, axis], [row]) for name, row in zip(pooled, rows, strict=True)
    )
    # A branch that answers as both is in the graph once.
    both = rows if len(rows) == NUM_BRANCHES else rows * NUM_BRANCHES
    graph.node.append(helper.make_node("Concat", both, [spec.name], axis=1))
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    graph.output.append(helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, [batch, *map(int, spec.shape[1:])]))
    onnx.checker.check_model(model, full_check=True)
    return spec
