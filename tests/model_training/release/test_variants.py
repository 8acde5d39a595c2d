"""The variants of less precision: which parts are rounded, and the gate each has to pass."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from model_training.release.deployed import output_specs
from model_training.release.fp16 import halve
from model_training.release.parity import Outputs, run_onnx
from model_training.release.variants import (
    PRECISIONS,
    Fidelity,
    JudgedGraph,
    compare_variants,
    convert_and_judge,
    gate_figures,
)
from service.bundle import load_bundle
from service.inference.engine import Engine
from tests.model_training.conftest import SmallExperiment

SPECS = output_specs(num_classes=3, size=64, num_features=448, with_feature_attention=True)
BOX = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)


def outputs(probabilities: np.ndarray, box: np.ndarray = BOX) -> Outputs:
    return {"probabilities": probabilities, "crop_box": np.repeat(box, len(probabilities), axis=0)}


def test_fidelity_is_what_scikit_learn_says() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 200)
    first = generator.dirichlet(np.ones(3), 200).astype(np.float32)
    second = (0.9 * first + 0.1 * generator.dirichlet(np.ones(3), 200)).astype(np.float32)
    shifted = np.array([[0.25, 0.25, 0.75, 0.5]], np.float32)
    found = compare_variants(outputs(first), outputs(second, shifted), labels, [0, 1], speed=1.0)
    aucs = [[roc_auc_score(labels == k, p[:, k]) for k in (0, 1)] for p in (first, second)]
    assert found.max_auc_difference == pytest.approx(np.abs(np.diff(aucs, axis=0)).max())
    assert found.diagnoses_changed == pytest.approx((first.argmax(1) != second.argmax(1)).mean())
    pixels = [np.zeros((8, 8), int) for _ in range(2)]
    pixels[0][2:6, 2:6] = pixels[1][2:4, 2:6] = 1
    assert found.mean_box_iou == pytest.approx(jaccard_score(pixels[0].ravel(), pixels[1].ravel()))
    same = compare_variants(outputs(first), outputs(first), labels, [0, 1], speed=1.0)
    assert (same.max_auc_difference, same.diagnoses_changed, same.mean_box_iou) == (0.0, 0.0, 1.0)


def test_a_class_that_is_missing_has_no_auc() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7]], np.float32)
    found = compare_variants(outputs(probabilities), outputs(probabilities), np.array([0, 2]), [0, 1], speed=2.0)
    assert found == Fidelity(2, 2.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("fidelity", "passed"),
    [
        (Fidelity(600, 1.0, 0.003, 0.005, 0.98), True),
        (Fidelity(600, 1.0, 0.0031, 0.0, 1.0), False),
        (Fidelity(600, 1.0, 0.0, 0.0051, 1.0), False),
        (Fidelity(600, 1.0, 0.0, 0.0, 0.979), False),
    ],
)
def test_every_limit_of_the_gate_counts(fidelity: Fidelity, passed: bool) -> None:
    assert fidelity.passed == passed
    good = Fidelity(150, 1.0, 0.0, 0.0, 1.0)
    assert gate_figures({"a": good, "b": fidelity})["passed"] == passed


INT8, FP16 = PRECISIONS


@pytest.fixture(scope="module")
def float32(small_experiment: SmallExperiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 graph of the small experiment."""
    from model_training.release.deployed import round_weights
    from model_training.release.export import deployed_network
    from model_training.release.graph import export_graph

    path = tmp_path_factory.mktemp("graphs") / "float32.onnx"
    network = deployed_network(small_experiment.experiment(), 3)
    round_weights(network)
    export_graph(network, path, frame_size=96, specs=SPECS)
    return path


@pytest.fixture(scope="module")
def quantised(small_experiment: SmallExperiment, float32: Path) -> tuple[Path, Path]:
    """The float32 graph of the small experiment, and its int8 form."""
    experiment, ledger, out = small_experiment.experiment(), float32.with_name("l.jsonl"), float32.with_name("8.onnx")
    judged = convert_and_judge(experiment, INT8, float32, out, SPECS, ledger=ledger, purpose="gate of a test")
    sets = {n.removeprefix("diagnoses_changed_") for n in judged.gate if n.startswith("diagnoses_changed_")}
    on_validation = {
        name: judged.gate[f"{name}_isic2017-validation"] for name in ("max_auc_difference", "diagnoses_changed")
    }
    passed_first = on_validation["max_auc_difference"] <= 0.003 and on_validation["diagnoses_changed"] <= 0.005
    assert sets == {"isic2017-validation", "isic2017-test"} if passed_first else {"isic2017-validation"}
    entries = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    assert [(entry["set"], entry["purpose"]) for entry in entries] == [("isic2017-test", "gate of a test")] * (
        len(sets) - 1
    )
    for entry in entries:
        assert entry["metrics"] == {name: v for name, v in judged.gate.items() if name.endswith("isic2017-test")}
    assert judged.gate["judged_on"] == "cpu"
    assert judged.gate["speed_isic2017-validation"] > 0
    assert judged.gate["mean_box_iou_isic2017-validation"] == 1.0, "the lesion area's part is untouched"
    assert json.loads((experiment.evaluation("int8") / "gate.json").read_text()) == judged.gate
    return float32, judged.path


@pytest.fixture(scope="module")
def halved(float32: Path) -> tuple[Path, Path]:
    """The float32 graph of the small experiment, and its fp16 form."""
    out = float32.with_name("16.onnx")
    halve(float32, out)
    return float32, out


def test_what_no_gpu_has_run_has_not_passed(
    small_experiment: SmallExperiment, float32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU computes an fp16 graph in float32, where nothing overflows."""
    monkeypatch.setattr("model_training.release.variants.usable", lambda provider, graph: provider == "cpu")
    experiment, ledger = small_experiment.experiment(), tmp_path / "ledger.jsonl"
    judged = convert_and_judge(experiment, FP16, float32, tmp_path / "16.onnx", SPECS, ledger=ledger, purpose="test")
    assert judged.gate == {"passed": False, "judged_on": "nothing: no cuda here"}
    assert not ledger.exists()


@pytest.mark.parametrize("passed", [True, False])
def test_the_test_set_is_not_read_for_what_has_failed_already(
    small_experiment: SmallExperiment,
    quantised: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passed: bool,
) -> None:
    experiment, ledger = small_experiment.experiment(), tmp_path / "ledger.jsonl"
    fidelity = Fidelity(12, 1.0, 0.0, 0.0 if passed else 0.5, 1.0)
    monkeypatch.setattr("model_training.release.variants.compare_variants", lambda *_, **__: fidelity)

    def convert(_: Path, out: Path, __: object) -> None:
        shutil.copy(quantised[1], out)

    again = replace(INT8, convert=convert)
    judged = convert_and_judge(
        experiment, again, quantised[0], tmp_path / "8.onnx", SPECS, ledger=ledger, purpose="gate of a test"
    )
    assert judged.gate["passed"] == passed
    assert ledger.exists() == passed
    assert ("diagnoses_changed_isic2017-test" in judged.gate) == passed


def test_half_precision_are_the_convolutions_and_what_joins_them(halved: tuple[Path, Path]) -> None:
    before, after = (onnx.load(path) for path in halved)
    inferred = onnx.shape_inference.infer_shapes(after, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    by_kind: dict[str, set[int]] = {}
    for node in after.graph.node:
        if node.output[0] in types:
            by_kind.setdefault(node.op_type, set()).add(types[node.output[0]])
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert by_kind["Conv"] == {half}
    for kind in ("GridSample", "Softmax", "Sigmoid", "MatMul", "Gemm", "Where", "Greater", "ReduceMean"):
        assert half not in by_kind.get(kind, {full}), kind
    parameters = {i.name: i.data_type for i in after.graph.initializer}
    convolutions = [node for node in after.graph.node if node.op_type == "Conv"]
    assert {parameters[name] for node in convolutions for name in node.input[1:]} == {half}
    assert len(convolutions) == sum(node.op_type == "Conv" for node in before.graph.node) > 70
    assert halved[1].stat().st_size < 0.6 * halved[0].stat().st_size
    outputs = [[(o.name, o.type.tensor_type.elem_type) for o in m.graph.output] for m in (before, after)]
    assert outputs[0] == outputs[1]


def test_half_precision_rounds_the_weights_and_little_else(
    halved: tuple[Path, Path], small_experiment: SmallExperiment
) -> None:
    """On a CPU the convolutions themselves are computed in float32; tests/service/inference/test_gpu.py goes on."""
    frames = np.asarray(small_experiment.experiment().validation_set().frames)[:8]
    reference, other = (run_onnx(path, frames, SPECS, batch=3) for path in halved)
    assert np.abs(reference["probabilities"] - other["probabilities"]).max() < 0.02


def test_features_that_are_outputs_are_refused(tmp_path: Path) -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 20]>
        g (float[1,1,4,4] x) => (float[1,1,4,4] y) <float[1,1,1,1] w = {2}> { y = Conv(x, w) }
    """
    onnx.save_model(onnx.parser.parse_model(text), tmp_path / "in.onnx")
    with pytest.raises(ValueError, match="y are features"):
        halve(tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_the_parts_that_decide_stay_floating_point(quantised: tuple[Path, Path]) -> None:
    before, after = (onnx.load(path) for path in quantised)
    names = [i.name for i in before.graph.initializer if i.name.endswith("weight") and len(i.dims) == 4]
    chosen = {name for name in names if re.search(r"branches\.\d\.features\.stages\.layer[234]\.", name)}
    assert len(chosen) == 2 * 15, "layers 2 to 4 of two branches"
    kept = {i.name for i in after.graph.initializer if i.data_type == onnx.TensorProto.FLOAT and len(i.dims) == 4}
    assert {name for name in names if name not in chosen} <= kept
    int8 = {i.name for i in after.graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) == 4}
    assert {f"{name}_quantized" for name in chosen} == int8
    num_filters = {i.name: i.dims[0] for i in before.graph.initializer if i.name in chosen}
    scales = {i.name: list(i.dims) for i in after.graph.initializer}
    assert all(scales[f"{name}_scale"] == [num] for name, num in num_filters.items()), "one scale for each filter"


@pytest.mark.parametrize("passed", [True, False])
def test_a_variant_is_in_the_bundle_when_it_passed_its_gate(
    small_experiment: SmallExperiment,
    quantised: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passed: bool,
) -> None:
    judged = JudgedGraph(quantised[1], {"pictures": "some", "passed": passed})
    monkeypatch.setattr("model_training.release.export.PRECISIONS", [INT8])
    monkeypatch.setattr("model_training.release.export.convert_and_judge", lambda *_, **__: judged)
    result = small_experiment.command("export", "--out", str(tmp_path / "bundle"))
    assert result.exit_code == 0, result.output
    assert ("int8 is left out" in result.output) != passed
    bundle = load_bundle(tmp_path / "bundle")
    names = ["fp32", "int8"] if passed else ["fp32"]
    assert [variant.name for variant in bundle.manifest.variants] == names
    for name in names:
        engine = Engine(bundle, variant=name, provider="cpu", threads=1)  # type: ignore[arg-type]
        assert engine.canary_difference() <= bundle.canary_tolerance(name)
