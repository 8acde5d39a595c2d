"""Exports the network as one ONNX graph, and prepares the graph for a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from model_training.release.deployed import MIN_HALF_PRECISION_SIZE, DeployedCIN
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
    """Check the graph and write it for a bundle: equal weights once, large ones as float16, no stack traces."""
    model = onnx.load(graph)
    share_equal_weights(model)
    store_half_precision(model)
    forget_stack_traces(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def forget_stack_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's stack trace from each node: it contains paths of this machine."""
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def share_equal_weights(model: onnx.ModelProto) -> None:
    """Keep each large weight once: layers that were frozen in training are the same in both branches."""
    kept: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    first_of = {weight.name: weight.name for weight in model.graph.initializer}
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.size < MIN_HALF_PRECISION_SIZE:
            continue
        first_of[weight.name] = kept.setdefault((weight.data_type, values.shape, values.tobytes()), weight.name)
    distinct = [weight for weight in model.graph.initializer if first_of[weight.name] == weight.name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(distinct)
    for node in model.graph.node:
        node.input[:] = [first_of.get(name, name) for name in node.input]


def store_half_precision(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16 where that is exact, followed by a cast that is folded at load time."""
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
