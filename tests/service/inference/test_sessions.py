"""Sessions: buffers that stay on the device, options of the providers, and operators left to the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import service.inference.selection
from service.bundle import Bundle
from service.inference.answers import EngineError
from service.inference.engine import Engine
from service.inference.sessions import (
    DeviceSession,
    GpuOptions,
    HostSession,
    cuda_options,
    start,
    tensorrt_options,
    work_on_cpu,
)
from tests.service.tiny_bundle import FRAME


@pytest.fixture
def on_cpu(tiny_bundle: Bundle) -> onnxruntime.InferenceSession:
    return start(tiny_bundle, tiny_bundle.variant("fp32"), "cpu", threads=1, gpu=GpuOptions())


def test_bound_to_a_device_a_graph_answers_as_it_does_from_arrays(
    tiny_bundle: Bundle, on_cpu: onnxruntime.InferenceSession
) -> None:
    outputs = tiny_bundle.manifest.outputs
    host, bound = HostSession(on_cpu, outputs), DeviceSession(on_cpu, outputs, device="cpu")
    generator = np.random.default_rng(5)
    batches = [generator.integers(0, 256, (num, FRAME, FRAME, 3), np.uint8) for num in (1, 3, 1, 3)]
    batches[2] = np.asfortranarray(batches[2])
    answers = [bound.run(frames) for frames in batches]
    for frames, answer in zip(batches, answers, strict=True):  # later runs have left earlier answers alone
        expected = host.run(frames)
        assert list(answer) == list(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(answer[name], values, err_msg=name)


def test_every_batch_size_keeps_its_place_on_the_device(
    tiny_bundle: Bundle, on_cpu: onnxruntime.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocated: list[tuple[int, ...]] = []
    allocate = onnxruntime.OrtValue.ortvalue_from_shape_and_type

    def counting(shape: Sequence[int], *arguments: Any) -> onnxruntime.OrtValue:
        allocated.append(tuple(shape))
        return allocate(shape, *arguments)

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", counting)
    bound = DeviceSession(on_cpu, tiny_bundle.manifest.outputs, device="cpu")
    blank = np.zeros((2, FRAME, FRAME, 3), np.uint8)
    buffers = 1 + len(tiny_bundle.manifest.outputs)
    for frames, expected in ((blank, buffers), (blank + 9, buffers), (blank[:1], 2 * buffers), (blank, 2 * buffers)):
        bound.run(frames)
        assert len(allocated) == expected


def test_what_cuda_is_told() -> None:
    assert cuda_options(GpuOptions()) == {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
    told = cuda_options(GpuOptions(memory_bytes=2**30, channels_last=True, graph=True))
    assert (told["gpu_mem_limit"], told["prefer_nhwc"], told["enable_cuda_graph"]) == (str(2**30), "1", "1")


def test_what_tensorrt_is_told(tmp_path: Path) -> None:
    told = tensorrt_options(GpuOptions(largest_batch=8), 256, half_precision=False)
    assert told["trt_fp16_enable"] == "0"
    assert told["trt_profile_min_shapes"] == "image:1x256x256x3"
    assert told["trt_profile_max_shapes"] == "image:8x256x256x3"
    assert not any("cache" in name for name in told)
    kept = tensorrt_options(GpuOptions(tensorrt_cache=tmp_path), 448, half_precision=True)
    assert (kept["trt_fp16_enable"], kept["trt_engine_cache_enable"]) == ("1", "1")
    assert {kept["trt_engine_cache_path"], kept["trt_timing_cache_path"]} == {str(tmp_path)}


def test_a_session_for_single_pictures_has_fixed_shapes(tiny_bundle: Bundle) -> None:
    variant = tiny_bundle.variant("fp32")
    fixed = start(tiny_bundle, variant, "cpu", threads=1, gpu=GpuOptions(single=True))
    assert fixed.get_inputs()[0].shape == [1, FRAME, FRAME, 3]
    one = np.full((1, FRAME, FRAME, 3), 7, np.uint8)
    assert DeviceSession(fixed, tiny_bundle.manifest.outputs, device="cpu").run(one)["crop_box"].shape == (1, 4)


@pytest.mark.parametrize("single", [True, False])
def test_everything_left_to_the_cpu_is_counted_and_single_pictures_have_no_shapes(
    shipped_bundle: Bundle, single: bool
) -> None:
    path = shipped_bundle.path(shipped_bundle.variant("fp32").file)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if single:
        options.add_free_dimension_override_by_name("batch", 1)
    left = work_on_cpu(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
    in_file = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert left["Conv"] == in_file["Conv"] > 70
    assert (left["Shape"] == 0) == single


def test_work_that_stays_on_the_cpu_is_an_error_where_a_gpu_is_required(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = start(tiny_bundle, tiny_bundle.variant("fp32"), "cpu", threads=1, gpu=GpuOptions())
    monkeypatch.setattr(service.inference.selection, "start", lambda *_, **__: real)
    monkeypatch.setattr(service.inference.selection, "is_installed", lambda provider: True)
    monkeypatch.setattr(service.inference.selection, "provider_of", lambda session: "cuda")
    monkeypatch.setattr(service.inference.selection, "work_on_cpu", lambda session: Counter(Resize=2, GridSample=1))
    with pytest.raises(EngineError, match="to the CPU: 2 Resize, 1 GridSample"):
        Engine(tiny_bundle, require_gpu=True, threads=1)
    Engine(tiny_bundle, provider="cuda", threads=1)
    assert "2 Resize, 1 GridSample" in caplog.text
