"""The int8 variant: which parts are quantised, and the gate it has to pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from model_training.parity import Outputs
from model_training.quantize import _QUANTISED
from model_training.variants import Fidelity, QuantisedGraph, compare_variants, gate_figures, int8_graph
from service.bundle import load_bundle
from service.engine import Engine
from tests.training.conftest import SmallExperiment

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
    assert found.max_auc_difference == pytest.approx(np.abs(np.subtract(*aucs)).max())
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


@pytest.fixture(scope="module")
def quantised(small_experiment: SmallExperiment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The float32 graph of the small experiment, and its int8 form."""
    from model_training.deployed import output_specs, round_weights
    from model_training.export import deployed_network
    from model_training.graph import export_graph

    folder = tmp_path_factory.mktemp("int8")
    experiment = small_experiment.experiment()
    network = deployed_network(experiment, 3)
    round_weights(network)
    specs = output_specs(num_classes=3, size=64, with_feature_attention=True)
    export_graph(network, folder / "float32.onnx", frame_size=96, specs=specs)
    ledger = folder / "ledger.jsonl"
    found = int8_graph(
        experiment, folder / "float32.onnx", folder / "int8.onnx", specs, ledger=ledger, purpose="gate of a test"
    )
    assert {"isic2017-validation", "isic2017-test"} == {
        name.removeprefix("diagnoses_changed_") for name in found.gate if name.startswith("diagnoses_changed_")
    }
    (entry,) = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert (entry["set"], entry["purpose"]) == ("isic2017-test", "gate of a test")
    assert entry["metrics"] == {name: v for name, v in found.gate.items() if name.endswith("isic2017-test")}
    assert found.gate["mean_box_iou_isic2017-validation"] > 0.9
    kept = experiment.evaluation("int8") / "gate.json"
    assert json.loads(kept.read_text()) == found.gate
    return folder / "float32.onnx", found.path


def test_the_parts_that_decide_stay_floating_point(quantised: tuple[Path, Path]) -> None:
    before, after = (onnx.load(path) for path in quantised)
    names = [i.name for i in before.graph.initializer if i.name.endswith("weight") and len(i.dims) == 4]
    chosen = {name for name in names if _QUANTISED.search(name)}
    assert len(chosen) == 2 * 15 + 6 + 10, "layers 2 to 4 of two branches; the decoder and layers 2 and 3 of the area's"
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
    judged = QuantisedGraph(quantised[1], {"pictures": "some", "passed": passed})
    monkeypatch.setattr("model_training.export.int8_graph", lambda *_, **__: judged)
    result = small_experiment.command("export", "--out", str(tmp_path / "bundle"))
    assert result.exit_code == 0, result.output
    assert ("int8 is left out" in result.output) != passed
    bundle = load_bundle(tmp_path / "bundle")
    names = ["fp32", "int8"] if passed else ["fp32"]
    assert [variant.name for variant in bundle.manifest.variants] == names
    for name in names:
        engine = Engine(bundle, variant=name, provider="cpu", threads=1)  # type: ignore[arg-type]
        assert engine.canary_difference() <= bundle.canary_tolerance(name)
