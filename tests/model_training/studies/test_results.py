"""The outcomes kept in ``results/``: the official scorer gives the same figures, and the tables follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore

from model_training.data.isic import read_set
from model_training.evaluation.predictions import read_predictions, write_predictions, write_truth
from model_training.studies.paper_tables import TABLES
from model_training.studies.trials import TrialRecord
from tests.paths import REPOSITORY

RESULTS = REPOSITORY / "results"
TRIALS = sorted((RESULTS / "trials").glob("*/*/seed-*/trial.json"))


def record_of(path: Path) -> TrialRecord:
    return TrialRecord.model_validate_json(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TRIALS, ids=lambda path: str(path.parent.relative_to(RESULTS / "trials")))
def test_the_official_scorer_gives_the_figures_of_a_trial(path: Path, data_root: Path, tmp_path: Path) -> None:
    record = record_of(path)
    pictures = read_set(data_root, record.evaluated_on, allow_missing=True)
    labels = [sample.label for sample in pictures.samples]
    ids, probabilities = read_predictions(path.with_name("predictions.csv"), pictures.classes)
    assert ids == [sample.id for sample in pictures.samples]
    write_truth(tmp_path / "truth.csv", ids, labels, pictures.classes)
    score = ClassificationScore.from_file(
        tmp_path / "truth.csv", path.with_name("predictions.csv"), ClassificationMetric.AUC
    )
    assert score.overall == pytest.approx(record.metrics["mean_auc"], abs=1e-12)
    # The paper's rule as the scorer can see it: 1 for the class of highest probability, 0 for the others.
    argmax = np.eye(len(pictures.classes))[probabilities.argmax(axis=1)]
    write_predictions(tmp_path / "argmax.csv", ids, argmax, pictures.classes)
    decided = ClassificationScore.from_file(
        tmp_path / "truth.csv", tmp_path / "argmax.csv", ClassificationMetric.AUC
    ).per_category
    for task in score.per_category.index:
        assert score.per_category.loc[task]["auc"] == pytest.approx(record.metrics[f"{task}_auc"], abs=1e-12)
        assert score.per_category.loc[task]["ap"] == pytest.approx(record.metrics[f"{task}_ap"], abs=1e-12)
        for name in ("accuracy", "sensitivity", "specificity"):
            assert score.per_category.loc[task][name] == pytest.approx(record.metrics[f"{task}_{name}_half"], abs=1e-12)
            assert decided.loc[task][name] == pytest.approx(record.metrics[f"{task}_{name}_argmax"], abs=1e-12)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("table-*.json")), ids=lambda path: path.stem)
def test_a_table_is_made_of_the_trials(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    table = TABLES[result["table"]]
    assert [row["name"] for row in result["rows"]] == [row.name for row in table.rows]
    for row in result["rows"]:
        folder = RESULTS / "trials" / table.challenge.name / str(row["system"])
        records = [record_of(trial) for trial in sorted(folder.glob("seed-*/trial.json"))]
        assert row["seeds"] == [record.seed for record in records], row["name"]
        for name, figures in row["metrics"].items():
            expected = float(np.mean([record.metrics[name] for record in records])) if records else None
            assert figures["mean"] == (None if expected is None else pytest.approx(expected)), (row["name"], name)


def test_printed_figures_say_what_else_they_were_trained_on() -> None:
    page = (RESULTS / "table-3.md").read_text(encoding="utf-8")
    assert "| Alea-Jacta-Est (7,544 external) | published |" in page
    assert "| RHN | published |" in page
    assert "ours used none" in page
    assert "external" not in (RESULTS / "table-1.md").read_text(encoding="utf-8")


def test_every_trial_read_the_test_set_once_and_said_so() -> None:
    """Earlier readings of that name are of networks whose place it took."""
    ledger = [json.loads(line) for line in (RESULTS / "test-ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    assert TRIALS
    for path in TRIALS:
        name = str(path.parent.relative_to(RESULTS / "trials"))
        *earlier, last = [entry for entry in ledger if entry.get("purpose") == name]
        assert last["metrics"]["mean_auc"] == record_of(path).metrics["mean_auc"], name
        assert last["weights_sha256"] not in {entry["weights_sha256"] for entry in earlier}, name
