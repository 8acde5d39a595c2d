"""The fp16 variant for GPUs: convolutions, and the operations between them, in half precision.

The rest stays in float32, because half precision would cost accuracy: the image's normalisation, the lesion map and its
crop box, the sampling of the crop, both attention maps, whose softmax runs over thousands of entries, and the
classifier. ONNX Runtime's float16 converter with a block list of these nodes does not work: on the shipped graph it
adds 413 casts instead of 20, in an order and with names that ONNX Runtime itself rejects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

# Operations on feature maps, and how many of their inputs hold features (None: all); a Resize also has scales.
_FEATURE_INPUTS = {"Relu": 1, "MaxPool": 1, "Resize": 1, "Add": 2, "Concat": None}


def halve(graph: Path, out: Path) -> None:
    """Write the fp16 form of the float32 ``graph`` to ``out``; inputs and outputs keep their types."""
    model = onnx.load(graph)
    halved = _halved_outputs(model.graph.node)
    if outside := halved & {output.name for output in model.graph.output}:
        raise ValueError(f"the outputs {', '.join(sorted(outside))} are features and would change their type")
    rounded = _round_parameters(model)
    cast: dict[tuple[str, int], str] = {}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        half = node.output[0] in halved
        for index, name in enumerate(node.input):
            if not half and name in halved:
                node.input[index] = _cast(name, TensorProto.FLOAT, cast, nodes)
            elif half and index in _features(node) and name not in halved:
                node.input[index] = rounded.get(name) or _cast(name, TensorProto.FLOAT16, cast, nodes)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]  # the types in it are outdated
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, out)


def _halved_outputs(nodes: Iterable[NodeProto]) -> set[str]:
    """Names of the half-precision tensors: outputs of convolutions, and of operations on only such tensors."""
    halved: set[str] = set()
    for node in nodes:
        joins = node.op_type in _FEATURE_INPUTS and all(node.input[index] in halved for index in _features(node))
        if node.op_type == "Conv" or joins:
            halved.update(node.output)
    return halved


def _features(node: NodeProto) -> Sequence[int]:
    """The inputs of a node that hold features or, for a convolution, weights."""
    return range(_FEATURE_INPUTS.get(node.op_type) or len(node.input))


def _round_parameters(model: ModelProto) -> dict[str, str]:
    """Round the convolutions' weights and biases to half precision; returns their new names by the old ones."""
    users = [(node, name) for node in model.graph.node for name in node.input]
    used_in_half = {name for node, name in users if node.op_type == "Conv"}
    used_in_full = {name for node, name in users if node.op_type != "Conv"}
    rounded: dict[str, str] = {}
    for parameter in list(model.graph.initializer):
        if parameter.name in used_in_half and parameter.data_type == TensorProto.FLOAT:
            rounded[parameter.name] = f"{parameter.name}_float16"
            values = numpy_helper.to_array(parameter).astype(np.float16)
            model.graph.initializer.append(numpy_helper.from_array(values, rounded[parameter.name]))
            if parameter.name not in used_in_full:
                model.graph.initializer.remove(parameter)
    return rounded


def _cast(name: str, to: int, cast: dict[tuple[str, int], str], nodes: list[NodeProto]) -> str:
    """The name of tensor ``name`` cast to another type; the cast is added once, before the first use."""
    if (name, to) not in cast:
        cast[name, to] = f"{name}_as_{TensorProto.DataType.Name(to).lower()}"
        nodes.append(helper.make_node("Cast", [name], [cast[name, to]], to=to))
    return cast[name, to]
