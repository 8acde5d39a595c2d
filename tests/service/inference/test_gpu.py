"""CUDA against the CPU: every variant of the bundle gives the same answers, and leaves no work to the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from service.bundle import Bundle, load_bundle
from service.inference.answers import EngineError
from service.inference.engine import Engine
from service.inference.sessions import DeviceSession, GpuOptions, work_on_cpu
from service.settings import SHIPPED_BUNDLE

pytestmark = pytest.mark.gpu

BATCHES = [1, 2, 4, 8, 16]

# What rounding to half precision may move, against float32; float32 itself differs in the order of its sums alone.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "int8": 2e-2}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The bundle in the repository, or the one that was just trained."""
    return load_bundle(Path(os.environ.get("CIN_GPU_BUNDLE", SHIPPED_BUNDLE)))


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def on_gpu(bundle: Bundle, request: pytest.FixtureRequest) -> Engine:
    """An engine that has taken what is fastest on this GPU."""
    try:
        Engine(bundle, provider="cuda", variant="fp32", threads=1)
    except EngineError as error:
        pytest.skip(f"no GPU: {error}")
    if request.param not in [variant.name for variant in bundle.manifest.variants]:
        pytest.skip(f"the bundle has no {request.param} variant")
    engine = Engine(bundle, provider="cuda", variant=request.param, threads=1)
    engine.warm_up(BATCHES)
    return engine


def test_answers_are_those_of_the_cpu(on_gpu: Engine, bundle: Bundle, data_root: Path) -> None:
    pictures = [path.read_bytes() for path in sorted((data_root / "samples").glob("*.jpg"))]
    frames = np.stack([bundle.read_picture(data).frame for data in pictures])[:8]
    on_cpu = Engine(bundle, provider="cpu", variant=on_gpu.variant.name, threads=1)
    tolerance = TOLERANCE[on_gpu.variant.name]
    for batch in (1, 4, 8):
        for first in range(0, len(frames), batch):
            some = frames[first : first + batch]
            for ours, theirs in zip(on_gpu.run(some), on_cpu.run(some), strict=True):
                np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=tolerance)
                np.testing.assert_allclose(ours.crop_box, theirs.crop_box, atol=2 / bundle.manifest.network_size)
    assert on_gpu.canary_difference() <= bundle.canary_tolerance(on_gpu.variant.name)


def test_no_compute_node_runs_on_the_cpu(on_gpu: Engine) -> None:
    assert on_gpu.provider == "cuda"
    assert all(isinstance(session, DeviceSession) for session in on_gpu.sessions.distinct())
    assert not work_on_cpu(on_gpu.selection.load(gpu=GpuOptions(single=True)))


def test_single_pictures_are_answered_alike_in_every_way(on_gpu: Engine, bundle: Bundle) -> None:
    generator = np.random.default_rng(1)
    size = bundle.manifest.frame_size
    for _ in range(3):  # a recorded graph must take each new image, not the one it was recorded with
        frame = generator.integers(0, 256, (1, size, size, 3), np.uint8)
        alone, *_ = on_gpu.run(frame)
        among, *_ = on_gpu.run(np.repeat(frame, 4, axis=0))
        np.testing.assert_allclose(alone.probabilities, among.probabilities, atol=1e-3)
