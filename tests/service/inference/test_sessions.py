"""Sessions: data that stays on the device, what providers are told, and ways that are taken where they are faster."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import service.inference.engine
import service.inference.sessions
from service.bundle import Bundle
from service.inference.engine import Engine, EngineError
from service.inference.sessions import (
    DeviceSession,
    GpuOptions,
    HostSession,
    Outputs,
    cuda_options,
    is_faster,
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
    tiny_bundle: Bundle, on_cpu: onnxruntime.InferenceSession
) -> None:
    bound = DeviceSession(on_cpu, tiny_bundle.manifest.outputs, device="cpu")
    blank = np.zeros((2, FRAME, FRAME, 3), np.uint8)
    bound.run(blank)
    places = [value.data_ptr() for value in (bound._bound[2].image, *bound._bound[2].outputs.values())]
    bound.run(blank + 9)
    bound.run(blank[:1])
    assert [value.data_ptr() for value in (bound._bound[2].image, *bound._bound[2].outputs.values())] == places
    assert sorted(bound._bound) == [1, 2]


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


class Ticking:
    """A session whose runs take as long as they are said to, by a clock that it moves itself."""

    now = 0.0

    def __init__(self, *seconds: float) -> None:
        self._seconds, self._num = seconds, 0

    def run(self, _: NDArray[np.uint8]) -> Outputs:
        Ticking.now += self._seconds[min(self._num, len(self._seconds) - 1)]
        self._num += 1
        return {}


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (Ticking(0.5), True),
        (Ticking(0.98), False),  # no more than noise
        (Ticking(2.0), False),
        (Ticking(9.0, 9.0, 9.0, 0.5), True),  # the first runs choose algorithms
    ],
)
def test_another_way_is_taken_when_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, other: Ticking, taken: bool
) -> None:
    monkeypatch.setattr(service.inference.sessions.time, "perf_counter", lambda: Ticking.now)
    assert is_faster(other, Ticking(1.0), np.zeros((1, 2, 2, 3), np.uint8)) == taken


FIRST, LAST = GpuOptions(), GpuOptions(channels_last=True)
FIRST_RECORDED, LAST_RECORDED = (replace(layout, single=True, graph=True) for layout in (FIRST, LAST))


@pytest.mark.parametrize(
    ("seconds", "batches", "singles"),
    [
        # Of the largest batch: channels first, last. Of one picture: first, last, either recorded. None: impossible.
        ((2.0, 2.0, 1.0, 1.0, 1.0, 1.0), FIRST, FIRST),
        ((2.0, 1.0, 1.0, 1.5, 1.5, 1.5), LAST, FIRST),
        ((2.0, 2.5, 1.0, 0.9, 0.8, 0.7), FIRST, LAST_RECORDED),
        ((2.0, 1.0, 1.0, 1.2, 0.5, 0.7), LAST, FIRST_RECORDED),
        ((2.0, None, 1.0, None, 0.5, None), FIRST, FIRST_RECORDED),
        ((2.0, None, 1.0, None, None, None), FIRST, FIRST),
    ],
)
def test_an_engine_on_a_gpu_takes_what_is_fastest_there(
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float | None, ...],
    batches: GpuOptions,
    singles: GpuOptions,
) -> None:
    """The CPU plays the GPU: which sessions answer is a matter of the choice, not of where they run."""
    ways = [(FIRST, 4), (LAST, 4), (FIRST, 1), (LAST, 1), (FIRST_RECORDED, 1), (LAST_RECORDED, 1)]
    takes = {(way, batch): takes for (way, batch), takes in zip(ways, seconds, strict=True)}
    told: dict[int, GpuOptions] = {}
    kept: list[Any] = []  # so that no two have the same id

    def started(bundle: Bundle, variant: Any, _: str, *, threads: int, gpu: GpuOptions) -> Any:
        if takes.get((gpu, 1), 1.0) is None:
            raise RuntimeError("not on this GPU")
        session = start(bundle, variant, "cpu", threads=threads, gpu=FIRST)
        told[id(session)] = gpu
        kept.append(session)
        return session

    def faster(other: DeviceSession, present: DeviceSession, frames: NDArray[np.uint8]) -> bool:
        theirs, ours = (takes[told[id(session._session)], len(frames)] for session in (other, present))
        assert theirs is not None
        assert ours is not None
        return theirs < ours

    def on_cpu(session: Any, outputs: Any) -> DeviceSession:
        return DeviceSession(session, outputs, device="cpu")

    monkeypatch.setattr(service.inference.engine, "start", started)
    monkeypatch.setattr(service.inference.engine, "is_faster", faster)
    monkeypatch.setattr(service.inference.engine, "is_installed", lambda provider: True)
    monkeypatch.setattr(service.inference.engine, "provider_of", lambda session: "cuda")
    monkeypatch.setattr(service.inference.engine, "work_on_cpu", lambda session: Counter())
    monkeypatch.setattr(service.inference.engine, "DeviceSession", on_cpu)
    engine = Engine(tiny_bundle, provider="cuda", threads=1)
    engine.warm_up([1, 2, 4])
    assert told[id(engine._session._session)] == batches
    assert told[id(engine._single._session)] == singles
    assert engine.canary_difference() < tiny_bundle.manifest.canary.tolerance
    assert 4 in engine._session._bound, "the canary is asked at the largest batch as well"


def test_work_that_stays_on_the_cpu_is_an_error_where_a_gpu_is_required(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = start(tiny_bundle, tiny_bundle.variant("fp32"), "cpu", threads=1, gpu=GpuOptions())
    monkeypatch.setattr(service.inference.engine, "start", lambda *_, **__: real)
    monkeypatch.setattr(service.inference.engine, "is_installed", lambda provider: True)
    monkeypatch.setattr(service.inference.engine, "provider_of", lambda session: "cuda")
    monkeypatch.setattr(service.inference.engine, "work_on_cpu", lambda session: Counter(Resize=2, GridSample=1))
    with pytest.raises(EngineError, match="to the CPU: 2 Resize, 1 GridSample"):
        Engine(tiny_bundle, require_gpu=True, threads=1)
    Engine(tiny_bundle, provider="cuda", threads=1)
    assert "2 Resize, 1 GridSample" in caplog.text
