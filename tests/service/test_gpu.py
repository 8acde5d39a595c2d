"""CUDA beside the CPU: the shipped network gives the same answers, and none of its work stays behind on the CPU."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.bundle import Bundle
from service.engine import Engine, EngineError

pytestmark = pytest.mark.gpu

# Shapes are computed on the CPU whatever the provider; that is no work.
SHAPES = {"Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape", "Reshape"}


@pytest.fixture(scope="module")
def on_gpu(shipped_bundle: Bundle) -> Engine:
    try:
        return Engine(shipped_bundle, provider="cuda", variant="fp32", threads=1)
    except EngineError:
        pytest.skip("no GPU")


def test_answers_are_those_of_the_cpu(on_gpu: Engine, shipped_bundle: Bundle, data_root: Path) -> None:
    pictures = [path.read_bytes() for path in sorted((data_root / "samples").glob("*.jpg"))]
    frames = np.stack([shipped_bundle.read_picture(data).frame for data in pictures])
    on_cpu = Engine(shipped_bundle, provider="cpu", variant="fp32", threads=1)
    for batch in (1, 4, len(frames)):
        for first in range(0, len(frames), batch):
            some = frames[first : first + batch]
            for ours, theirs in zip(on_gpu.run(some), on_cpu.run(some), strict=True):
                np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)
                np.testing.assert_allclose(ours.crop_box, theirs.crop_box, atol=1 / 224)


def test_no_compute_node_runs_on_the_cpu(on_gpu: Engine, shipped_bundle: Bundle) -> None:
    assert on_gpu.provider == "cuda"
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    path = shipped_bundle.path(shipped_bundle.variant("fp32").file)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    placed: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in session.get_provider_graph_assignment_info():
        placed[part.ep_name].update(node.op_type for node in part.get_nodes())
    assert placed["CUDAExecutionProvider"]["Conv"] > 50
    assert set(placed["CPUExecutionProvider"]) <= SHAPES
