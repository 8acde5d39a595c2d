"""What is kept in ``results/`` agrees with itself: tables with figures, figures with answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model_training.data.isic import CLASSES_2017, read_set
from model_training.evaluation.predictions import read_predictions
from model_training.studies.ablation_report import ablation_markdown
from model_training.studies.table_report import markdown
from model_training.studies.training_mix import SHIPPED, training_mix_result, with_prior
from service.bundle import is_unsure, load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.paths import REPOSITORY

RESULTS = REPOSITORY / "results"


def read_json(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return fields


@pytest.mark.parametrize("number", [1, 2, 3])
def test_tables_for_reading_are_those_of_the_figures(number: int) -> None:
    assert (RESULTS / f"table-{number}.md").read_text(encoding="utf-8") == markdown(read_json(f"table-{number}.json"))


def test_cross_validation_for_reading_is_that_of_the_figures() -> None:
    path = RESULTS / "choices-at-128" / "cross-validation.md"
    assert path.read_text(encoding="utf-8") == ablation_markdown(read_json("choices-at-128/cross-validation.json"))


def test_every_reading_of_the_test_set_has_a_known_purpose() -> None:
    lines = [json.loads(line) for line in (RESULTS / "test-ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = r"release [\w-]+ [\d.]+|gate [\w-]+ [\d.]+ (int8|fp16)|abstention [\w-]+ [\d.]+"
    kinds += r"|(isic2017|isbi2016)/[\w-]+/seed-\d+"
    first, *others = [line.get("purpose", "") for line in lines]
    assert first == "", "the first release was read before purposes were kept"
    assert [purpose for purpose in others if not re.fullmatch(kinds, purpose)] == []


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_release_follows_from_its_answers(split: str, data_root: Path) -> None:
    """The shipped figures and thresholds follow from the predictions in the same folder."""
    manifest, folder = load_bundle(SHIPPED_BUNDLE).manifest, RESULTS / SHIPPED
    report = read_json(f"{SHIPPED}/{split}.json")
    ids, probabilities = read_predictions(folder / f"{split}-predictions.csv", CLASSES_2017)
    labels = {sample.id: sample.label for sample in read_set(data_root, report["set"], allow_missing=True).samples}
    truth = np.array([labels[id] for id in ids])
    for k, task in enumerate(("melanoma", "seborrheic_keratosis")):
        assert roc_auc_score(truth == k, probabilities[:, k]) == pytest.approx(report["metrics"][f"{task}_auc"])
    assert manifest.provenance.metrics[report["set"]] == report["metrics"]
    assert report["temperature"] == manifest.temperature
    figures = read_json(f"{SHIPPED}/figures.json")
    assert json.loads((SHIPPED_BUNDLE / "figures.json").read_text()) == figures
    for point in figures["sets"][report["set"]]["operating_points"]:
        assert point["threshold"] == pytest.approx(manifest.operating_point(point["name"]).threshold, abs=1e-6)
        unsure = is_unsure(probabilities, manifest.not_sure, manifest.classes)
        referred = (probabilities[:, 0] >= point["threshold"]) | unsure
        assert referred[truth == 0].mean() == pytest.approx(point["sensitivity"]["value"])
        assert 1 - referred[truth != 0].mean() == pytest.approx(point["specificity"]["value"])


def test_a_class_prior_can_be_put_in_and_taken_out() -> None:
    prior = np.array([0.1, 0.2, 0.7])
    equal = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    mixed = with_prior(equal, prior)
    assert mixed[0] == pytest.approx(np.array([0.06, 0.06, 0.07]) / 0.19)
    assert with_prior(mixed, 1 / prior) == pytest.approx(equal)


def test_the_comparison_with_one_class_prior_is_that_of_the_kept_answers(data_root: Path) -> None:
    kept = read_json("training-mix.json")
    assert training_mix_result(RESULTS, data_root) == kept
    truth = {s.id: s.label for s in read_set(data_root, "isic2017-test", allow_missing=True).samples}
    counts = read_json(f"{SHIPPED}/figures.json")["pictures"]["isic2017-train"]
    weights = np.array([counts[name] for name in CLASSES_2017])
    for row in kept["rows"]:
        ids, answers = read_predictions(
            RESULTS / "trials/isic2017" / row["system"] / "seed-0/predictions.csv", CLASSES_2017
        )
        scores = answers * weights / (answers * weights).sum(axis=1, keepdims=True)
        labels = np.array([truth[id] for id in ids])
        for k, task in enumerate(("melanoma_auc", "seborrheic_keratosis_auc")):
            assert roc_auc_score(labels == k, scores[:, k]) == pytest.approx(row[task])
