"""ONNX Runtime behind the engine: the same figures as NumPy, and no doubt about where it runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle, BundleError, write_bundle
from service.imaging import read_picture
from service.inference.answers import DeviceError, EngineError
from service.inference.engine import Engine
from service.inference.selection import multiplies_int8_fast
from service.inference.sessions import DeviceSession, HostSession, Outputs, provider_of
from tests.service.tiny_bundle import FRAME, expected_outputs, graph_text, write_tiny_bundle


@pytest.fixture(scope="module")
def engine(examining_bundle: Bundle) -> Engine:
    return Engine(examining_bundle, provider="cpu", threads=1)


def test_answers_equal_numpy_for_a_batch_of_real_pictures(engine: Engine, data_root: Path) -> None:
    paths = sorted((data_root / "samples").glob("*.jpg"))[:3]
    frames = [read_picture(path.read_bytes(), FRAME).frame for path in paths]
    answers = engine.run(np.stack(frames))
    assert len(answers) == 3
    for frame, answer in zip(frames, answers, strict=True):
        expected = expected_outputs(frame)
        for name in {field.name for field in fields(answer)} - {"queue_seconds", "inference_seconds"}:
            tolerance = 1 if name == "lesion_attention" else 1e-3
            np.testing.assert_allclose(getattr(answer, name), expected[name][0], atol=tolerance, err_msg=name)


def test_a_picture_runs_with_all_threads_or_with_one(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tiny_bundle, provider="cpu", threads=2)
    assert engine.workers == 2
    used: list[int] = []
    really_run = HostSession.run

    def run(session: HostSession, frames: NDArray[np.uint8]) -> Outputs:
        used.append(session.graph.get_session_options().intra_op_num_threads)
        return really_run(session, frames)

    monkeypatch.setattr(HostSession, "run", run)
    frame = np.full((1, FRAME, FRAME, 3), 99, np.uint8)
    (multithreaded,) = engine.run(frame)
    with ThreadPoolExecutor(2) as pool:
        answers = [
            answer for (answer,) in pool.map(lambda frames: engine.run(frames, multithreaded=False), [frame, frame])
        ]
    assert used == [2, 1, 1]
    for answer in answers:
        np.testing.assert_allclose(answer.probabilities, multithreaded.probabilities, atol=1e-5)
    assert Engine(tiny_bundle, provider="cpu", threads=1).workers == 1


def test_a_network_without_feature_attention_answers_none_for_its_maps(plain_bundle: Bundle) -> None:
    (answer,) = Engine(plain_bundle, provider="cpu", threads=1).run(np.zeros((1, FRAME, FRAME, 3), np.uint8))
    assert answer.spatial_attention is None
    assert answer.correlation_attention is None


def test_the_provider_is_the_one_that_really_runs(tiny_bundle: Bundle) -> None:
    engine = Engine(tiny_bundle, provider="auto", threads=1)
    assert isinstance(engine.sessions.batched, HostSession if engine.provider == "cpu" else DeviceSession)
    assert engine.provider == provider_of(engine.selection.load())


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        ({"require_gpu": True}, "check the driver"),
        ({"provider": "cuda"}, "check the driver"),
        ({"provider": "tensorrt"}, "TensorRT's libraries"),
    ],
)
def test_a_missing_gpu_is_an_error_only_when_it_is_demanded(
    tiny_bundle: Bundle, demand: dict[str, object], message: str
) -> None:
    if Engine(tiny_bundle, provider="auto", threads=1).provider == "cuda":
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineError, match=message):
        Engine(tiny_bundle, threads=1, **demand)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_gpu_gives_the_same_answer(tiny_bundle: Bundle) -> None:
    try:
        engine = Engine(tiny_bundle, provider="cuda", require_gpu=True, threads=1)
    except EngineError:
        pytest.skip("no GPU")
    assert engine.canary_difference() < tiny_bundle.manifest.canary.tolerance


def test_cpu_and_required_gpu_contradict_each_other(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="GPU is required"):
        Engine(tiny_bundle, provider="cpu", require_gpu=True, threads=1)


@pytest.mark.parametrize(("flags", "fast"), [("fpu avx2", False), ("avx512f avx512_vnni", True), ("fp asimddp", True)])
def test_int8_is_fast_where_the_cpu_says_so(tmp_path: Path, flags: str, fast: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags} x\n")
    assert multiplies_int8_fast(cpuinfo) == fast
    assert not multiplies_int8_fast(tmp_path / "none")


def test_the_fastest_variant_is_chosen_and_held_to_its_own_canary(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tiny_bundle.manifest
    expected = tiny_bundle.canary_outputs()
    expected["probabilities"] = expected["probabilities"] + 0.1
    np.savez(tmp_path / "own.npz", **expected)  # type: ignore[arg-type]
    quick = manifest.variants[0].model_copy(
        update={"name": "int8", "file": "quick.onnx", "canary_outputs": "own.npz", "canary_tolerance": 0.2}
    )
    files = {name: tiny_bundle.path(name) for name in manifest.files}
    files |= {"quick.onnx": tiny_bundle.path("tiny.onnx"), "own.npz": tmp_path / "own.npz"}
    fields = {name: getattr(manifest, name) for name in type(manifest).model_fields}
    del fields["files"], fields["schema_version"]
    fields["variants"] = [*manifest.variants, quick]
    bundle = write_bundle(tmp_path / "bundle", files=files, manifest=fields)
    for fast, name in ((True, "int8"), (False, "fp32")):
        monkeypatch.setattr("service.inference.selection.multiplies_int8_fast", lambda fast=fast: fast)
        engine = Engine(bundle, provider="cpu", threads=1)
        assert engine.variant.name == name
        assert engine.canary_difference() == pytest.approx(0.1 if name == "int8" else 0.0, abs=1e-3)
        assert bundle.canary_tolerance(name) == (0.2 if name == "int8" else manifest.canary.tolerance)
    assert Engine(bundle, variant="int8", provider="cpu", threads=1).variant.name == "int8"


def test_a_variant_that_the_bundle_lacks_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="int8"):
        Engine(tiny_bundle, variant="int8", provider="cpu", threads=1)


def test_the_canary_tells_right_from_wrong(tiny_bundle: Bundle, tmp_path: Path) -> None:
    tolerance = tiny_bundle.manifest.canary.tolerance
    assert Engine(tiny_bundle, provider="cpu", threads=1).canary_difference() < tolerance
    wrong = write_tiny_bundle(tmp_path / "wrong", wrong_canary=True)
    assert Engine(wrong, provider="cpu", threads=1).canary_difference() > 10 * tolerance


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (("sharpness = Constant<value_float = 6.0>", "sharpness = Constant<value_float = nan>"), "sum to 1"),
        (("Softmax<axis = -1>(logits_2)", "Exp(logits_2)"), "sum to 1"),
        (("box = Div(box_pixels, end_index)", "box = Div(box_pixels, nothing)"), "crop_box is not finite"),
    ],
)
def test_outputs_that_cannot_be_true_are_refused(tmp_path: Path, broken: tuple[str, str], message: str) -> None:
    graph = graph_text()
    assert broken[0] in graph
    bundle = write_tiny_bundle(tmp_path / "broken", graph=graph.replace(*broken))
    frame = np.full((1, FRAME, FRAME, 3), 60, np.uint8)
    with pytest.raises(EngineError, match=message):
        Engine(bundle, provider="cpu", threads=1).run(frame)


def test_what_onnx_runtime_cannot_run_is_a_device_error(engine: Engine) -> None:
    with pytest.raises(DeviceError):
        engine.run(np.zeros((1, FRAME, FRAME, 4), np.uint8))


def test_a_graph_that_does_not_load_or_lacks_an_output_is_named(tmp_path: Path) -> None:
    lacking = graph_text().replace("lesion_fraction", "share")
    bundle = write_tiny_bundle(tmp_path / "lacking", graph=lacking)
    with pytest.raises(EngineError, match="lacks the outputs lesion_fraction"):
        Engine(bundle, provider="cpu", threads=1)
    unknown = graph_text().replace("Round(", "Surround(")
    bundle = write_tiny_bundle(tmp_path / "unknown", graph=unknown)
    with pytest.raises(EngineError, match=r"cannot load tiny\.onnx"):
        Engine(bundle, provider="cpu", threads=1)
