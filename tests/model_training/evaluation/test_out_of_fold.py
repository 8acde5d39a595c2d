"""Out-of-fold answers: every training image is answered by a network that has not seen it, and they calibrate."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.config import NUM_FOLDS, load_config
from model_training.evaluation.calibration import choose_referrals, fit_temperature
from model_training.evaluation.evaluate import read_calibration, read_report
from model_training.evaluation.predictions import read_branches, read_predictions
from model_training.release.manifest import judged_referrals
from model_training.training.experiment import Experiment
from model_training.training.run_folder import RunError
from service.bundle import Interval, NotSure, OperatingPoint
from tests.synthetic import write_isic2017

CLASSES = ("melanoma", "seborrheic_keratosis", "nevus")


SETTINGS = (
    *("start=none", "precision=32-true", "data.frame_size=32", "evaluation.prevalence=training"),
    *("network.size=32", "network.lesion_area_attention=false", "network.branches=single", "network.distinguish=false"),
    *("recognition.epochs=1", "recognition.batch_size=8", "recognition.optimiser=adamw"),
)


def run(experiment: Experiment, name: str, *arguments: str) -> Result:
    """One command on the experiment."""
    folders = {"--data": experiment.data, "--cache": experiment.cache, "--run": experiment.folder}
    options = [part for option, folder in folders.items() for part in (option, str(folder))]
    return CliRunner().invoke(app, [name, *(part for s in SETTINGS for part in ("--set", s)), *options, *arguments])


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A small experiment with out-of-fold answers."""
    root = tmp_path_factory.mktemp("out-of-fold")
    write_isic2017(root / "data", size=32, train=24, validation=18, test=12, seed=1)
    config = load_config(None, SETTINGS)
    experiment = Experiment(config, root / "data", root / "cache", root / "run", Console(quiet=True))
    test = ("evaluate", "--split", "test", "--purpose=a test", "--ledger", str(root / "ledger.jsonl"))
    for name, *arguments in (("recognition",), ("out-of-fold",), ("evaluate",), test):
        result = run(experiment, name, *arguments)
        assert result.exit_code == 0, result.output
    return experiment


def test_every_training_image_is_answered_by_a_network_that_has_not_seen_it(calibrated: Experiment) -> None:
    ids, _ = read_predictions(calibrated.evaluation("out-of-fold") / "predictions.csv", CLASSES)
    assert sorted(ids) == sorted(calibrated.training_sets()[0].ids)
    for fold in map(calibrated.without_fold, range(NUM_FOLDS)):
        with (fold.recognition_run.path / "pictures.csv").open() as file:
            seen = {row["id"] for row in csv.DictReader(file)}
        answered, _ = read_predictions(fold.evaluation("validation") / "predictions.csv", CLASSES)
        assert not seen & set(answered)
        assert seen | set(answered) == set(ids)


def test_the_temperature_is_fitted_to_the_folds_own_logits(calibrated: Experiment) -> None:
    ids, _, branches = read_branches(calibrated.evaluation("out-of-fold") / "branches.csv")
    calibration = read_calibration(calibrated)
    (temperature,) = set(calibration.temperature_N.tolist())
    by_id = dict(zip(ids, torch.from_numpy(branches), strict=True))
    for fold in map(calibrated.without_fold, range(NUM_FOLDS)):
        answered, _, of_fold = read_branches(fold.evaluation("validation") / "branches.csv")
        own = float(read_calibration(fold).temperature_N[0])
        for id, probabilities in zip(answered, torch.from_numpy(of_fold), strict=True):
            # softmax(z / T + shift): another temperature, the same z.
            first, other = (p.log() - calibration.log_prevalence_K for p in (probabilities, by_id[id]))
            expected, found = (x - x.mean(dim=1, keepdim=True) for x in (first * own, other * temperature))
            assert torch.allclose(expected, found, atol=1e-3)
    labels = torch.from_numpy(calibrated.training_sets()[0].labels)
    logits = (torch.from_numpy(branches).log() - calibration.log_prevalence_K) * temperature
    assert fit_temperature(logits, labels, calibration.log_prevalence_K) == pytest.approx(temperature, rel=1e-2)


def test_answers_from_before_the_calibration_are_not_used(calibrated: Experiment) -> None:
    path = calibrated.evaluation("validation") / "report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps({**report, "temperature": [2.5, 2.5]}))
    with pytest.raises(RunError, match="another temperature; run again: cin-train evaluate --split validation"):
        read_report(calibrated, "validation")
    path.write_text(json.dumps(report))
    assert read_report(calibrated, "validation") == report


def test_thresholds_are_chosen_out_of_fold_and_measured_on_the_test_set(calibrated: Experiment) -> None:
    for point in judged_referrals(calibrated)["operating_points"]:
        assert point.chosen_on == "isic2017-train, out of fold (24 images)"
        assert point.measured_on == "isic2017-test (12 images)"
    (calibrated.evaluation("test") / "report.json").unlink()
    assert {point.measured_on for point in judged_referrals(calibrated)["operating_points"]} == {
        "isic2017-validation (18 images)"
    }
    validation = json.loads((calibrated.evaluation("validation") / "report.json").read_text())
    assert validation["temperature"] == read_calibration(calibrated).temperature_N.tolist()


def test_the_rates_of_the_operating_points_include_the_rule(
    calibrated: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_rule_for_all(*arguments: Any, **options: Any) -> tuple[list[OperatingPoint], NotSure]:
        cost = Interval(value=1, low=1, high=1)
        return choose_referrals(*arguments, **options)[0], NotSure(least_probability=0.999, chosen_on="", cost=cost)

    monkeypatch.setattr("model_training.release.manifest.choose_referrals", with_a_rule_for_all)
    for point in judged_referrals(calibrated)["operating_points"]:
        assert (point.sensitivity.value, point.specificity.value) == (1, 0)


def test_a_part_that_is_held_out_already_is_not_cut_again(calibrated: Experiment) -> None:
    result = run(calibrated, "out-of-fold", "--set", "data.fold=1")
    assert result.exit_code == 1
    assert "leave both out" in result.stderr
