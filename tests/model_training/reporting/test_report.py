"""The command that reports, and what the bundle carries of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from model_training.evaluation.calibration import Calibration
from model_training.reporting.judgement import read_answers
from model_training.reporting.plots import PLOTS
from service.bundle import load_bundle
from tests.model_training.conftest import SmallExperiment


def test_the_command_reports_what_the_evaluation_found(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    result = small_experiment.command("report", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "figures.json").read_text())
    assert list(written["sets"]) == ["isic2017-validation", "isic2017-test"]
    assert sum(written["pictures"]["isic2017-train"].values()) == 24
    experiment = small_experiment.experiment()
    weights = experiment.recognition_run.load_weights(experiment.config, "recognition")
    assert written["attention_weights"] == [
        {name: float(weights[f"branches.{i}.attention.{name}"]) for name in ("alpha", "beta")} for i in range(2)
    ]
    for split in ("validation", "test"):
        evaluated = json.loads((small_experiment.run / "evaluation" / split / "report.json").read_text())
        judged = written["sets"][evaluated["set"]]
        for task, figures in judged["discrimination"].items():
            assert figures["auc"]["value"] == pytest.approx(evaluated["metrics"][f"{task}_auc"])
            assert figures["ap"]["value"] == pytest.approx(evaluated["metrics"][f"{task}_ap"])
    manifest = load_bundle(small_experiment.bundle).manifest
    chosen = {p["name"]: p["threshold"] for p in written["sets"]["isic2017-validation"]["operating_points"]}
    assert chosen == pytest.approx({p.name: p.threshold for p in manifest.operating_points})


def test_the_bundle_carries_its_report(small_experiment: SmallExperiment) -> None:
    bundle = load_bundle(small_experiment.bundle)
    card = bundle.model_card()
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", card)
    assert sorted(pictures) == sorted(f"{name}.png" for name in PLOTS)
    assert {*pictures, "figures.json", "CLEAR_DERM.md"} <= bundle.manifest.files.keys()
    judged = json.loads(bundle.path("figures.json").read_text())["sets"]["isic2017-test"]
    for point in judged["operating_points"]:
        assert (
            f"| {point['name']} | {point['threshold']:.4f} | isic2017-test | {point['sensitivity']['value']:.3f}"
            in card
        )
    assert f"{judged['calibration']['after']['brier_score']['value']:.3f}" in card
    assert "{" not in card


def test_a_report_needs_an_evaluation(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    result = small_experiment.command("report", "--out", str(tmp_path / "report"), run=tmp_path / "run")
    assert result.exit_code == 1
    assert not (tmp_path / "report").exists()


def test_answers_to_other_questions_are_refused(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    for name in ("branches.csv", "truth.csv"):
        shutil.copy(small_experiment.run / "evaluation" / "test" / name, tmp_path / name)
    calibration = Calibration(torch.ones(2), torch.zeros(3))
    diagnoses = small_experiment.experiment().diagnoses()
    assert len(read_answers(tmp_path, calibration, diagnoses).labels) == 12
    shutil.copy(small_experiment.run / "evaluation" / "validation" / "truth.csv", tmp_path / "truth.csv")
    with pytest.raises(ValueError, match="evaluate that split again"):
        read_answers(tmp_path, calibration, diagnoses)
