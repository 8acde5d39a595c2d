"""Testing on images that were trained on."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_training.data.isic import CLASSES_2016, CLASSES_2017
from model_training.evaluation.evaluate import read_calibration
from model_training.evaluation.predictions import answers_for, read_predictions
from model_training.network.cin import summed_probabilities
from model_training.training.recognition import predict_logits
from tests.model_training.conftest import SmallExperiment
from tests.synthetic import write_isic2016

ON_ITS_TRAINING_SET = ("--split", "test", "--purpose=a test", "--set", "data.test=isic2017-train")


@pytest.fixture
def run_copy(small_experiment: SmallExperiment, tmp_path: Path) -> Path:
    """The finished run under another path, so that its reports can be overwritten."""
    for source in small_experiment.run.rglob("*"):
        if source.is_file():
            target = tmp_path / "run" / source.relative_to(small_experiment.run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return tmp_path / "run"


def test_a_run_records_what_it_was_trained_on(small_experiment: SmallExperiment) -> None:
    trained = set(small_experiment.experiment().training_sets()[0].ids)
    for stage in ("area", "recognition"):
        with (small_experiment.run / stage / "pictures.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["id"] for row in rows} == trained
        assert all(len(row["sha256"]) == 64 for row in rows)


def test_pictures_that_were_trained_on_are_refused(
    small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    result = small_experiment.command("evaluate", *ON_ITS_TRAINING_SET, "--ledger", str(ledger), run=run_copy)
    assert result.exit_code == 1
    assert "24 of the 24 images of isic2017-train were trained on" in result.output
    assert not ledger.exists()


def test_force_writes_the_overlap_into_the_report(
    small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path
) -> None:
    arguments = [*ON_ITS_TRAINING_SET, "--force", "--ledger", str(tmp_path / "ledger.jsonl")]
    result = small_experiment.command("evaluate", *arguments, run=run_copy)
    assert result.exit_code == 0, result.output
    told = "24 of the 24 images of {} were trained on: figures on them mean nothing."
    assert told.format("isic2017-train") in " ".join(result.output.split())
    report = json.loads((run_copy / "evaluation" / "test" / "report.json").read_text())
    assert len(report["seen_in_training"]["same_id"]) == 24
    assert report["set"] == "isic2017-train"
    out = tmp_path / "report"
    written = small_experiment.command("report", *ON_ITS_TRAINING_SET[-2:], "--out", str(out), run=run_copy)
    assert written.exit_code == 0, written.output
    assert told.format("`isic2017-train`") in (out / "CLEAR_DERM.md").read_text()
    judged = json.loads((out / "figures.json").read_text())["sets"]["isic2017-train"]
    assert judged["seen_in_training"] == {"same_id": 24, "same_pixels": 0}
    other = small_experiment.command("report", "--out", str(tmp_path / "other"), run=run_copy)
    assert other.exit_code == 1
    assert "is about isic2017-train, not isic2017-test; set data.test, or run again" in " ".join(other.output.split())
    assert not (tmp_path / "other").exists()


def test_the_question_of_2016_is_answered_by_a_model_of_2017(
    small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path
) -> None:
    """Which has seen most of that test set, so only with --force."""
    small = replace(small_experiment, data=Path(shutil.copytree(small_experiment.data, tmp_path / "data")))
    write_isic2016(small.data, size=96, train=12, test=8, seed=1)
    asked = ["--set", "data.test=isic2016-test"]
    arguments = ["--split", "test", "--purpose=a test", "--ledger", str(tmp_path / "ledger.jsonl"), *asked]
    result = small.command("evaluate", *arguments, "--force", run=run_copy)
    assert result.exit_code == 0, result.output
    experiment = replace(small.experiment(), folder=run_copy)
    pictures = experiment.frames("isic2016-test")
    areas = experiment.locate(pictures, torch.device("cpu"))
    logits = predict_logits(experiment.recognition_network(3), pictures, areas, 64, torch.device("cpu"), num_views=1)
    answers, _ = summed_probabilities(logits, *read_calibration(experiment))
    folder = run_copy / "evaluation" / "test"
    ids, probabilities = read_predictions(folder / "predictions.csv", ("benign", "malignant"))
    assert ids == list(pictures.ids)
    assert probabilities[:, 1] == pytest.approx(answers[:, 0].detach().numpy())
    assert "malignant_auc" in json.loads((folder / "report.json").read_text())["metrics"]
    judged = small.command("report", *asked, "--out", str(tmp_path / "report"), run=run_copy)
    assert judged.exit_code == 1
    assert "isic2016-test has other classes than the model" in " ".join(judged.output.split())


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="a model of benign, malignant has no answer to melanoma"):
        answers_for(CLASSES_2017, torch.zeros(1, 2), CLASSES_2016)
    same = torch.rand(4, 2, 3)
    assert answers_for(CLASSES_2017, same, CLASSES_2017) is same


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("recognition/weights.safetensors", "evaluate"),
        ("area/weights.safetensors", "evaluate"),
        ("recognition/run.json", "report"),
        ("recognition/config.json", "evaluate"),
        ("evaluation/validation/report.json", "report"),
        ("evaluation/validation/truth.csv", "report"),
        ("recognition/checkpoint.pt", "recognition"),
    ],
)
def test_a_file_that_was_cut_short_is_named(
    small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path, file: str, command: str
) -> None:
    path = run_copy / file
    path.write_bytes(path.read_bytes()[:-20])
    if command == "recognition":  # which has nothing to do once the weights are there
        (run_copy / "recognition" / "weights.safetensors").unlink()
    arguments = ["--out", str(tmp_path / "report")] if command == "report" else []
    result = small_experiment.command(command, *arguments, run=run_copy)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), "a message, no traceback"
    said = " ".join(result.output.split())
    assert str(path if path.suffix != ".csv" else path.parent) in said
    assert any(word in said for word in ("restore it", "run again", "evaluate that split again", "make the file again"))
