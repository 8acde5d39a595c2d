"""From images to bundle through the command line: figures, gate, graph, and what a user does wrong."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fastapi.testclient import TestClient
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.release.deployed import fold_batch_norms, output_specs, round_weights
from model_training.release.export import deployed_network, export_bundle
from model_training.release.parity import run_onnx, run_torch
from model_training.reporting.summary_card import with_summary
from service.app import create_app
from service.bundle import file_sha256, load_bundle
from service.imaging import read_picture
from service.settings import SHIPPED_BUNDLE, Settings
from tests.model_training.conftest import SmallExperiment
from tests.paths import REPOSITORY


def report(small: SmallExperiment, split: str) -> dict[str, float]:
    fields: dict[str, dict[str, float]] = json.loads((small.run / "evaluation" / split / "report.json").read_text())
    return fields["metrics"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_official_scorer_gives_our_figures(small_experiment: SmallExperiment, split: str) -> None:
    folder = small_experiment.run / "evaluation" / split
    score = ClassificationScore.from_file(folder / "truth.csv", folder / "predictions.csv", ClassificationMetric.AUC)
    ours = report(small_experiment, split)
    assert score.overall == pytest.approx(ours["mean_auc"], abs=1e-12)
    for task in ("melanoma", "seborrheic_keratosis"):
        theirs = score.per_category.loc[task]
        assert theirs["auc"] == pytest.approx(ours[f"{task}_auc"], abs=1e-12)
        assert theirs["ap"] == pytest.approx(ours[f"{task}_ap"], abs=1e-12)
        for name in ("accuracy", "sensitivity", "specificity"):
            assert theirs[name] == pytest.approx(ours[f"{task}_{name}_half"], abs=1e-12)


def test_the_lesions_are_found(small_experiment: SmallExperiment) -> None:
    metrics = report(small_experiment, "validation")
    assert metrics["num_masks"] == 18
    assert metrics["mean_jaccard"] > 0.5, "synthetic lesions are easy"
    with (small_experiment.run / "evaluation" / "validation" / "lesions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(np.mean([float(row["jaccard"]) for row in rows])) == pytest.approx(metrics["mean_jaccard"])
    assert float(np.mean([float(row["box_iou"]) for row in rows])) == pytest.approx(metrics["mean_box_iou"])


def test_a_run_says_what_it_was_made_from_and_how(small_experiment: SmallExperiment) -> None:
    area, recognition = (
        json.loads((small_experiment.run / stage / "run.json").read_text()) for stage in ("area", "recognition")
    )
    for about in (area, recognition):
        assert (about["start_sha256"], about["precision"], about["resumed"]) == (None, "32-true", [])
    assert recognition["area_weights"] == file_sha256(small_experiment.run / "area" / "weights.safetensors")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_evaluation_tells_what_the_attention_does(small_experiment: SmallExperiment, split: str) -> None:
    report = json.loads((small_experiment.run / "evaluation" / split / "report.json").read_text(encoding="utf-8"))
    figures = report["attention"]
    assert figures["positions"] == 4, "64 pixels have 2 x 2 positions"
    assert 1 <= figures["effective_columns"] <= 4
    # One epoch from zero: alpha and beta have hardly moved, and neither do the answers without them.
    assert 0 < figures["change_without_attention"] < 0.1
    assert abs(figures["mean_auc"] - figures["mean_auc_without_attention"]) < 0.2
    gain = figures["faithfulness"]["correlation"]["deletion_gain"]
    assert gain["low"] <= gain["mean"] <= gain["high"]


def test_every_reading_of_the_test_split_is_in_the_ledger(small_experiment: SmallExperiment) -> None:
    entry, *gates = [json.loads(line) for line in small_experiment.ledger.read_text().splitlines()]
    assert {line["set"] for line in (entry, *gates)} == {"isic2017-test"}
    assert entry["metrics"] == report(small_experiment, "test")
    *variants, abstention = [gate["purpose"] for gate in gates]
    assert variants in ([], ["gate synthetic 1.0.0 int8"]), "when it passed on validation"
    assert abstention == "abstention synthetic 1.0.0"
    again = small_experiment.command(
        "evaluate", "--split", "test", "--purpose=a test", "--ledger", str(small_experiment.ledger)
    )
    assert again.exit_code == 0
    assert len(small_experiment.ledger.read_text().splitlines()) == 2 + len(gates)


def test_the_bundle_keeps_the_contract(small_experiment: SmallExperiment) -> None:
    bundle = load_bundle(small_experiment.bundle)
    manifest = bundle.manifest
    assert [c.name for c in manifest.classes] == ["melanoma", "seborrheic_keratosis", "nevus"]
    assert (manifest.frame_size, manifest.network_size) == (96, 64)
    reference = manifest.reference
    assert reference is not None
    assert reference.num_pictures == report(small_experiment, "validation")["num_pictures"]
    assert list(reference.probabilities) == [c.name for c in manifest.classes]
    graph = onnx.load(bundle.path(manifest.variants[0].file))
    assert [output.name for output in graph.graph.output] == [spec.name for spec in manifest.outputs]
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 20)]
    batch = {v.type.tensor_type.shape.dim[0].dim_param for v in (*graph.graph.input, *graph.graph.output)}
    assert len(batch) == 1
    assert batch != {""}, "the batch is dynamic"
    assert not {"NonZero", "Loop", "If"} & {node.op_type for node in graph.graph.node}
    sizes = dict.fromkeys((True, False), 0)
    for weight in graph.graph.initializer:
        sizes[weight.data_type == onnx.TensorProto.FLOAT16] += int(np.prod(weight.dims))
    assert sizes[True] > 0.98 * sum(sizes.values()), "the weights are stored as float16"
    gate = manifest.variants[0].gate
    assert gate["passed"] is True
    assert {f"max_probability_difference_batch_{b}" for b in (1, 3, 16)} <= gate.keys()
    card = bundle.model_card()
    assert card.split("\n## ")[1].startswith("For clinicians")
    assert with_summary(card, dict(bundle.manifest)) == card
    for point in bundle.manifest.operating_points:
        assert (point.measured_on, point.chosen_on) == (
            "isic2017-test (12 images)",
            "isic2017-validation (18 images)",
        )
    assert f"{manifest.provenance.metrics['isic2017-test']['mean_auc']:.3f}" in card
    assert str(small_experiment.data) not in card + manifest.model_dump_json(), "no path of the training machine"


def test_photographs_that_are_not_there_cost_no_reading_of_the_test_set(
    small_experiment: SmallExperiment, tmp_path: Path
) -> None:
    arguments = ["--ledger", str(tmp_path / "ledger.jsonl"), "--photographs", "nowhere"]
    result = small_experiment.command("export", "--out", str(tmp_path / "bundle"), *arguments)
    assert result.exit_code == 1
    assert "nowhere is no folder with images" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_a_failing_gate_writes_no_bundle(
    small_experiment: SmallExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tampered(*arguments: object) -> dict[str, np.ndarray]:
        outputs = run_onnx(*arguments)  # type: ignore[arg-type]
        outputs["probabilities"] = outputs["probabilities"] + np.float32(2e-4)
        return outputs

    monkeypatch.setattr("model_training.release.export.run_onnx", tampered)
    ledger = str(small_experiment.ledger.parent / "other.jsonl")
    result = small_experiment.command("export", "--out", str(tmp_path / "bundle"), "--ledger", ledger)
    assert result.exit_code == 1
    assert not (tmp_path / "bundle").exists()
    assert list(tmp_path.iterdir()) == []


def test_service_and_training_give_the_same_probabilities(small_experiment: SmallExperiment, data_root: Path) -> None:
    """For synthetic images and for full-size originals, over HTTP against PyTorch."""
    experiment = small_experiment.experiment()
    network = deployed_network(experiment, 3)
    round_weights(network)
    specs = output_specs(num_classes=3, size=64, num_features=448, with_feature_attention=True)
    synthetic = sorted((small_experiment.data / "isic2017" / "ISIC-2017_Test_v2_Data").glob("*.jpg"))[:4]
    originals = sorted((data_root / "samples").glob("*.jpg"))
    assert len(originals) == 9
    settings = Settings(bundle=small_experiment.bundle, inference_threads=1, variant="fp32")
    address, headers = "/predict?include=raw", {"content-type": "image/jpeg"}
    with TestClient(create_app(settings)) as client:
        for path in (*synthetic, *originals):
            frame = read_picture(path.read_bytes(), 96).frame
            expected = run_torch(network, frame[None], specs, batch=1)
            answer = client.post(address, content=path.read_bytes(), headers=headers).json()
            served = [answer["probabilities"][c] for c in ("melanoma", "seborrheic_keratosis", "nevus")]
            assert served == pytest.approx(expected["probabilities"][0].tolist(), abs=1e-4), path.name
            width, height = answer["image"]["width"], answer["image"]["height"]
            box = expected["crop_box"][0] * [width, height, width, height]
            assert list(answer["lesion"]["crop_box"].values()) == pytest.approx(box.tolist(), abs=1)


def test_folding_batch_norms_changes_nothing(small_experiment: SmallExperiment) -> None:
    experiment = small_experiment.experiment()
    locator, network = experiment.locator(), experiment.recognition_network(3)
    assert locator is not None
    picture = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        before = (locator(picture).attention_BSS, network.diagnose(picture)[0].logits_BK)
        fold_batch_norms(locator)
        fold_batch_norms(network)
        after = (locator(picture).attention_BSS, network.diagnose(picture)[0].logits_BK)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in (*locator.modules(), *network.modules()))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("torch", "cin-train: torch is not installed"),
        ("model_training.cli.studies", "ModuleNotFoundError"),
    ],
)
def test_packages_that_only_training_needs_are_named_when_they_are_missing(missing: str, said: str) -> None:
    """As after `make serve`; a module of ours that is missing is a fault, and not called anything else."""
    program = f"import sys; sys.modules[{missing!r}] = None; import model_training.cli.main"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert said in result.stderr
    assert ("Traceback" in result.stderr) == missing.startswith("model_training")


def test_code_that_differs_from_its_commit_exports_nothing(
    small_experiment: SmallExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_training.release.export.git_commit", lambda: f"{'0' * 40}-dirty")
    with pytest.raises(ValueError, match="--dirty"):
        export_bundle(
            small_experiment.experiment(), tmp_path / "bundle", name="x", version="1", ledger=tmp_path / "ledger.jsonl"
        )
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["prepare", "area", "recognition", "evaluate", "export"])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "--config" in result.output


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["area", "--set", "area.epoch=3"], 1),
        (["area", "--config", "missing.toml"], 1),
        (["recognition", "--set", "seed=9"], 1),
        (["evaluate", "--split", "train"], 1),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_1(
    small_experiment: SmallExperiment, arguments: list[str], exit_code: int
) -> None:
    result = small_experiment.command(*arguments)
    assert result.exit_code == exit_code
    assert "Traceback" not in result.output


def test_the_second_stage_needs_the_first(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    result = small_experiment.command("recognition", run=tmp_path / "fresh")
    assert result.exit_code == 1
    assert not (tmp_path / "fresh" / "recognition" / "weights.safetensors").exists()


def test_missing_data_says_where_to_point(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["prepare", "--data", str(tmp_path)])
    assert result.exit_code == 1


def test_no_graph_names_a_folder_of_the_machine(small_experiment: SmallExperiment) -> None:
    """As the exporter's stack traces of the network's code do; every node's folder would be this checkout's."""
    graphs = [*small_experiment.bundle.glob("*.onnx"), *SHIPPED_BUNDLE.glob("*.onnx")]
    assert len(graphs) >= 2
    for path in graphs:
        nodes = onnx.load(path, load_external_data=False).graph.node
        keys = {entry.key for node in nodes for entry in node.metadata_props}
        assert "namespace" in keys or path.stem.endswith("int8")  # whose optimiser may drop them all
        assert str(REPOSITORY).encode() not in path.read_bytes(), path
        assert b"model_training/release/deployed.py" not in path.read_bytes(), path
