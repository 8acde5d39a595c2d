"""What a graph looks like in a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from model_training.release.graph import ship_graph


def test_a_bundle_has_weights_that_two_branches_share_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shared, other = (random.normal(size=(64, 64)).astype(np.float16).astype(np.float32) for _ in range(2))
    one = np.ones((), np.float32)
    weights = {"a.0": shared, "a.1": shared, "b.0": shared, "b.1": other, "alpha": one, "beta": one}
    nodes = [
        *(helper.make_node("MatMul", ["image", f"a.{i}"], [f"hidden.{i}"]) for i in range(2)),
        *(helper.make_node("MatMul", [f"hidden.{i}", f"b.{i}"], [f"logits.{i}"]) for i in range(2)),
        helper.make_node("Mul", ["logits.0", "alpha"], ["first"]),
        helper.make_node("Mul", ["logits.1", "beta"], ["second"]),
        helper.make_node("Sub", ["first", "second"], ["difference"]),
    ]
    image, difference = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("image", "difference")
    )
    initializers = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "two branches", [image], [difference], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, tmp_path / "trained.onnx")

    ship_graph(tmp_path / "trained.onnx", tmp_path / "shipped.onnx")

    kept = onnx.load(tmp_path / "shipped.onnx").graph.initializer
    assert [each.data_type for each in kept if np.prod(each.dims) > 1] == [TensorProto.FLOAT16] * 2
    # Equal by chance: switching the attention off must not change other constants.
    assert {"alpha", "beta"} <= {each.name for each in kept}
    inputs = {"image": random.normal(size=(1, 64)).astype(np.float32)}
    before, after = (
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx").run(None, inputs)[0] for name in ("trained", "shipped")
    )
    assert np.array_equal(before, after)
    assert np.abs(before).max() > 0
