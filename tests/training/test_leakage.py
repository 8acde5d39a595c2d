"""Testing on pictures that were trained on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from model_training.data.frames import picture_digests
from tests.training.conftest import SmallExperiment

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
    assert "24 of the 24 pictures of isic2017-train were trained on" in result.output
    assert not ledger.exists()


def test_force_writes_the_overlap_into_the_report(
    small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path
) -> None:
    arguments = [*ON_ITS_TRAINING_SET, "--force", "--ledger", str(tmp_path / "ledger.jsonl")]
    result = small_experiment.command("evaluate", *arguments, run=run_copy)
    assert result.exit_code == 0, result.output
    report = json.loads((run_copy / "evaluation" / "test" / "report.json").read_text())
    assert len(report["seen_in_training"]["same_id"]) == 24
    assert report["set"] == "isic2017-train"


def test_what_only_the_lesion_net_saw_counts(small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path) -> None:
    """As does what only the start saw, which is recorded with the run that began from it."""
    test_id = small_experiment.experiment().frames("isic2017-test").ids[3]
    with (run_copy / "area" / "pictures.csv").open("a") as file:
        file.write(f"{test_id},\n")
    arguments = ["--split", "test", "--purpose=a test", "--ledger", str(tmp_path / "ledger.jsonl")]
    result = small_experiment.command("evaluate", *arguments, run=run_copy)
    assert result.exit_code == 1
    assert f"1 of the 12 pictures of isic2017-test were trained on ({test_id})" in result.output


def test_copies_under_other_ids_are_reported(small_experiment: SmallExperiment, run_copy: Path, tmp_path: Path) -> None:
    test = small_experiment.experiment().frames("isic2017-test")
    with (run_copy / "recognition" / "pictures.csv").open("a") as file:
        file.write(f"ISIC_9999999,{picture_digests(test.frames[5:6])[0]}\n")
    arguments = ["--split", "test", "--purpose=a test", "--ledger", str(tmp_path / "ledger.jsonl")]
    result = small_experiment.command("evaluate", *arguments, run=run_copy)
    assert result.exit_code == 0, result.output
    report = json.loads((run_copy / "evaluation" / "test" / "report.json").read_text())
    assert report["seen_in_training"] == {"same_id": [], "same_pixels": [test.ids[5]]}
