"""How much the lesion feature attention acts on a bundle's answers: against the same network in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.evaluation.module_report import attention_switched_off
from model_training.release.deployed import output_specs, round_weights
from model_training.release.export import deployed_network
from model_training.release.influence import switch_attention_off
from model_training.release.parity import run_onnx, run_torch
from service.bundle import BundleError, load_bundle
from tests.model_training.conftest import SmallExperiment
from tests.service.tiny_bundle import graph_text

SPECS = output_specs(num_classes=3, size=64, num_features=448, with_feature_attention=True)


def influence(small: SmallExperiment, figures: Path, *options: str) -> Result:
    folders = ["--data", str(small.data), "--cache", str(small.cache)]
    return CliRunner().invoke(app, ["influence", str(small.bundle), "--figures", str(figures), *folders, *options])


def test_the_graph_without_attention_is_the_network_without_it(
    small_experiment: SmallExperiment, tmp_path: Path
) -> None:
    bundle = load_bundle(small_experiment.bundle)
    graph = onnx.load(bundle.path("cin-fp32.onnx"))
    onnx.save_model(switch_attention_off(graph), tmp_path / "off.onnx")
    network = deployed_network(small_experiment.experiment(), 3)
    round_weights(network)
    frames = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    acting = run_torch(network, frames, SPECS, batch=3)["probabilities"]
    with attention_switched_off(network.network):
        expected = run_torch(network, frames, SPECS, batch=3)["probabilities"]
    assert np.abs(acting - expected).max() > 1e-5, "the network does not depend on its attention"
    found = run_onnx(tmp_path / "off.onnx", frames, SPECS[:1], 3)["probabilities"]
    assert np.abs(found - expected).max() < 0.1 * np.abs(acting - expected).max()


def test_the_influence_goes_into_the_bundle(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    figures, out = tmp_path / "influence.json", tmp_path / "bundle"
    result = influence(small_experiment, figures, "--out", str(out))
    assert result.exit_code == 0, result.output
    measured = load_bundle(out).manifest.attention_influence
    assert measured is not None
    assert measured.num_images == 18
    assert 0 < measured.median_change <= measured.percentile_95_change < 1
    assert 0 <= measured.row_spread <= 1
    found = json.loads(figures.read_text())
    assert {name: found[name] for name in type(measured).model_fields} == measured.model_dump()


def test_a_graph_without_the_attention_is_refused() -> None:
    with pytest.raises(BundleError, match="no lesion feature attention"):
        switch_attention_off(onnx.parser.parse_model(graph_text(feature_attention=False)))


def test_switching_off_leaves_the_graph_as_it_was(small_experiment: SmallExperiment) -> None:
    graph = onnx.load(small_experiment.bundle / "cin-fp32.onnx")
    before = graph.SerializeToString(deterministic=True)
    off = switch_attention_off(graph)
    assert graph.SerializeToString(deterministic=True) == before
    assert off.SerializeToString(deterministic=True) != before
