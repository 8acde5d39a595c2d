"""Stages, evaluations and exports that do not belong together are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from service.bundle import load_bundle
from service.inference.engine import Engine
from tests.model_training.conftest import SmallExperiment


@pytest.fixture
def copy_of_run(small_experiment: SmallExperiment, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_experiment.run, tmp_path / "run"))


def change_weights(run: Path, stage: str) -> None:
    path = run / stage / "weights.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1.0}, path)


def test_the_second_stage_keeps_to_its_first_stage(small_experiment: SmallExperiment, copy_of_run: Path) -> None:
    assert small_experiment.command("recognition", run=copy_of_run).exit_code == 0
    change_weights(copy_of_run, "area")
    result = small_experiment.command("recognition", run=copy_of_run)
    assert result.exit_code == 1
    assert "another first stage" in result.output


def of_the_report(run: Path) -> tuple[str, ...]:
    return ("report", "--out", str(run.parent / "report"))


def of_the_export(run: Path) -> tuple[str, ...]:
    return ("export", "--out", str(run.parent / "bundle"))


@pytest.mark.parametrize("command", [of_the_report, of_the_export])
@pytest.mark.parametrize("stage", ["area", "recognition"])
def test_figures_of_other_weights_are_not_reported(
    small_experiment: SmallExperiment, copy_of_run: Path, stage: str, command: Callable[[Path], tuple[str, ...]]
) -> None:
    change_weights(copy_of_run, stage)
    result = small_experiment.command(*command(copy_of_run), run=copy_of_run)
    assert result.exit_code == 1
    assert "about other weights" in result.output
    assert "evaluate --split validation" in result.output
    assert not (copy_of_run.parent / "bundle").exists()


def of_the_evaluation(run: Path) -> tuple[str, ...]:
    ledger = str(run.parent / "ledger.jsonl")
    return ("evaluate", "--split", "test", "--purpose=a test", "--ledger", ledger)


@pytest.mark.parametrize(
    ("command", "change"),
    [
        (of_the_evaluation, "network.size=128"),
        (of_the_evaluation, "network.crop_margin=0.5"),
        (of_the_evaluation, "network.area_size=96"),
        (of_the_report, "seed=9"),
        (of_the_report, "network.crop_margin=0.5"),
        (of_the_export, "recognition.epochs=7"),
        (of_the_export, "network.crop_margin=0.5"),
    ],
)
def test_a_network_is_not_asked_as_it_was_not_trained(
    small_experiment: SmallExperiment,
    copy_of_run: Path,
    command: Callable[[Path], tuple[str, ...]],
    change: str,
) -> None:
    result = small_experiment.command(*command(copy_of_run), "--set", change, run=copy_of_run)
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert "was trained with another configuration" in told
    assert change.partition("=")[0] in told
    assert "give the --config and --set that it was trained with" in told
    for written in ("ledger.jsonl", "bundle", "report"):
        assert not (copy_of_run.parent / written).exists()


def test_probabilities_of_another_mix_of_classes_are_evaluated_anew(
    small_experiment: SmallExperiment, copy_of_run: Path
) -> None:
    level = ("--set", "evaluation.prevalence=balanced")
    refused = small_experiment.command(*of_the_export(copy_of_run), *level, run=copy_of_run)
    assert (refused.exit_code, "evaluation.prevalence" in refused.output) == (1, True)
    assert small_experiment.command("evaluate", *level, run=copy_of_run).exit_code == 0
    shutil.rmtree(copy_of_run / "evaluation" / "test")  # was answered the other way
    exported = small_experiment.command(*of_the_export(copy_of_run), *level, run=copy_of_run)
    assert exported.exit_code == 0, exported.output
    train, validation = small_experiment.experiment().training_sets()
    shares = dict(zip(train.classes, np.bincount(train.labels) / len(train.labels), strict=True))
    bundles = [
        (small_experiment.run, load_bundle(small_experiment.bundle), shares),
        (copy_of_run, load_bundle(copy_of_run.parent / "bundle"), dict.fromkeys(train.classes, 1 / 3)),
    ]
    for run, bundle, expected in bundles:
        assert bundle.manifest.prevalence == pytest.approx(expected)
        answers = Engine(bundle, provider="cpu", variant="fp32", threads=1).run(np.asarray(validation.frames))
        # Weights in float16 may move a pixel of a mask over the threshold, and with it the crop.
        boxes = np.array([answer.crop_box for answer in answers])
        alike = np.abs(boxes - columns(run, "lesions.csv", range(4, 8))).max(axis=1) < 1e-3
        assert alike.mean() > 0.8
        branches = np.array([answer.branch_probabilities.ravel() for answer in answers])
        np.testing.assert_allclose(branches[alike], columns(run, "branches.csv", range(1, 7))[alike], atol=5e-3)


def columns(run: Path, name: str, numbers: range) -> NDArray[np.float64]:
    """Of a table of the evaluation on validation."""
    return np.loadtxt(run / "evaluation" / "validation" / name, delimiter=",", skiprows=1, usecols=numbers)


def test_eight_views_are_not_exported_as_one(small_experiment: SmallExperiment, copy_of_run: Path) -> None:
    eight = ("--set", "evaluation.views=8")
    assert small_experiment.command("evaluate", *eight, run=copy_of_run).exit_code == 0
    one = small_experiment.command(*of_the_export(copy_of_run), run=copy_of_run)
    assert (one.exit_code, "evaluation.views" in one.output) == (1, True)
    both = small_experiment.command(*of_the_export(copy_of_run), *eight, run=copy_of_run)
    assert (both.exit_code, "one view" in both.output) == (1, True)
    tested = small_experiment.command(
        "evaluate",
        "--split",
        "test",
        "--purpose=a test",
        "--ledger",
        str(copy_of_run.parent / "ledger.jsonl"),
        run=copy_of_run,
    )
    assert tested.exit_code == 1, "the temperatures are those of eight views"
    assert not (copy_of_run.parent / "ledger.jsonl").exists()
