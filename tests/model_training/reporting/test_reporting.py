"""What a report says: figures against scikit-learn and against answers made to be known, plots, card and checklist."""

from __future__ import annotations

import json
import re
import shutil
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from model_training.arrays import Scores
from model_training.config import Config
from model_training.data.isic import CLASSES_2017
from model_training.evaluation.calibration import Calibration
from model_training.reporting.abstention_card import with_abstention
from model_training.reporting.clear_derm import clear_derm
from model_training.reporting.judgement import Answers, error_prediction, judge, read_answers
from model_training.reporting.model_card import model_card
from model_training.reporting.plots import PLOTS, draw_plots
from service.bundle import Provenance, load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.model_training.conftest import SmallExperiment


def answers_of(
    branches_NBK: Scores,
    labels: list[int],
    temperature: tuple[float, ...] = (1.0, 1.0),
    log_prevalence: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> Answers:
    """A tenth of the usual bootstrap samples, which take most of the time."""
    return Answers(CLASSES_2017, np.array(labels), branches_NBK, np.array(temperature), np.array(log_prevalence), 200)


def random_answers(num: int = 90, *, seed: int = 0, same_branches: bool = False) -> Answers:
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    logits = rng.normal(size=(num, 2, 3)) + 1.5 * np.eye(3)[labels][:, None]
    if same_branches:
        logits[:, 1] = logits[:, 0]
    powers = np.exp(logits)
    return answers_of(powers / powers.sum(axis=2, keepdims=True), labels.tolist())


@pytest.fixture(scope="module")
def judgement() -> dict[str, Any]:
    return judge({"held-out": random_answers(), "tested": random_answers(seed=1)})


def test_discrimination_is_scikit_learns(judgement: dict[str, Any]) -> None:
    answers, judged = random_answers(), judgement["held-out"]
    assert list(judged["discrimination"]) == ["melanoma", "seborrheic_keratosis"]
    for k, figures in enumerate(judged["discrimination"].values()):
        truth, scores = answers.labels == k, answers.probabilities[:, k]
        assert figures["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores))
        assert figures["ap"]["value"] == pytest.approx(average_precision_score(truth, scores))
        for figure in figures.values():
            assert figure["low"] < figure["value"] < figure["high"]


def test_what_the_calibration_did_is_undone() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20, 2, 3))
    temperature, log_prevalence = np.array([0.5, 3.0]), np.log([0.2, 0.1, 0.7])
    powers, calibrated = np.exp(logits), np.exp(logits / temperature[:, None] + log_prevalence)
    shares = calibrated / calibrated.sum(axis=2, keepdims=True)
    answers = answers_of(shares, [0] * 20, (0.5, 3.0), tuple(log_prevalence))
    plain = powers / powers.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(answers.uncalibrated, plain.mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("told_by", ["disagreement", "probability"])
def test_the_better_sign_of_an_error_is_recognised(told_by: str) -> None:
    """Twenty right answers and twenty wrong ones; one sign separates them, the other says nothing."""
    rows, wrong = [], [False] * 20 + [True] * 20
    for i, is_wrong in enumerate(wrong):
        told, untold = float(is_wrong), (i % 20) / 19
        doubt, distance = (told, untold) if told_by == "probability" else (untold, told)
        highest, shift = 0.8 - 0.2 * doubt, 0.01 + 0.08 * distance
        mean, apart = np.full(3, (1 - highest) / 2), np.array([shift, -shift, 0.0])
        mean[int(is_wrong)] = highest
        rows.append([mean + apart, mean - apart])
    found = error_prediction(answers_of(np.array(rows), [0] * 40))
    assert found is not None
    gain = found["gain"]
    assert found["area_by_probability"] - found["area_by_disagreement"] == pytest.approx(gain["value"])
    assert gain["low"] > 0.1 if told_by == "disagreement" else gain["high"] < -0.1


def test_one_network_cannot_disagree() -> None:
    assert error_prediction(random_answers(same_branches=True)) is None
    assert error_prediction(random_answers()) is not None


def test_thresholds_come_from_the_first_set() -> None:
    first, second = random_answers(seed=0), random_answers(num=300, seed=5)
    judged = judge({"validation": first, "test": second})
    for chosen, measured in zip(
        judged["validation"]["operating_points"], judged["test"]["operating_points"], strict=True
    ):
        assert measured["threshold"] == chosen["threshold"]
        malignant, scores = second.malignant
        referred = scores >= chosen["threshold"]
        (_, false_positives), (_, true_positives) = confusion_matrix(malignant, referred)
        assert measured["sensitivity"]["value"] == pytest.approx(true_positives / malignant.sum())
        assert measured["specificity"]["value"] == pytest.approx(1 - false_positives / (~malignant).sum())
        at_home = measured["predictive_values"][-1]
        assert at_home["prevalence"] == pytest.approx(malignant.mean())
        assert at_home["positive"]["value"] == pytest.approx(true_positives / referred.sum())


def test_plots_show_what_they_should(tmp_path: Path) -> None:
    sets = {"first": random_answers(same_branches=True), "second": random_answers(seed=2)}
    judgement = judge(sets)
    once, twice = tmp_path / "once", tmp_path / "twice"
    once.mkdir()
    twice.mkdir()
    files = draw_plots(sets, judgement, once)
    assert [path.stem for path in files] == list(PLOTS)
    for path in files:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
        assert grey.shape[1] > 1.9 * grey.shape[0], "one column for each set"
        left, right = grey[:, : grey.shape[1] // 2], grey[:, grey.shape[1] // 2 :]
        assert min((left < 250).mean(), (right < 250).mean()) > 0.01, f"{path.name} is blank"
    again = draw_plots(sets, judgement, twice)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]


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


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            {},
            "(Liu et al., MICCAI 2020): ResNet18 features in two branches; modules: lesion area attention, lesion",
        ),
        ({"attention": "literal"}, "lesion feature attention (literal), distinguish module."),
        ({"branches": "single", "distinguish": False, "lesion_area_attention": False}, "features in one branch;"),
        ({"features": "resnet50"}, "ResNet50 features"),
        ({"lesion_feature_attention": False, "distinguish_form": "synergic"}, "three linear layers that compare pairs"),
    ],
)
def test_the_card_describes_the_network_it_is_about(
    network: dict[str, object], said: str, judgement: dict[str, Any]
) -> None:
    config = Config.model_validate({"network": network, "recognition": {"pairs": "balanced"}})
    judged = {"held-out": judgement["held-out"]}
    text = model_card(fields_of_a_manifest({"trained-on": "1", "held-out": "2"}), config, judged)
    assert said in text
    assert ("The Clinical-Inspired Network (Liu" in text) == (
        config.network.distinguish and config.network.lesion_feature_attention
    )
    assert "Trained on `trained-on`, temperatures and thresholds chosen on `held-out`, not evaluated" in text
    single = config.network.branches == "single"
    assert ("batches of 32 pictures" if single else "batches of 32 balanced pairs") in text
    assert ("lambda 1." in text) == config.network.distinguish
    assert ("both branches" in text) == (not single)


def test_the_shipped_card_and_checklist_have_the_figures_that_are_written_today() -> None:
    """From the bundle's own manifest and figures, so that neither text can say what no longer holds."""
    bundle = load_bundle(SHIPPED_BUNDLE)
    manifest, provenance = bundle.manifest, bundle.manifest.provenance
    sections = provenance.config
    config = Config.model_validate(
        {
            **sections["recognition"],
            "area": sections["area"]["area"],
            "evaluation": {"prevalence": "training"},
        }
    )
    figures = json.loads(bundle.path("figures.json").read_text(encoding="utf-8"))
    fields = {**manifest.model_dump(), "classes": manifest.classes, "variants": manifest.variants}
    card = model_card({**fields, "provenance": provenance}, config, figures["sets"])
    assert manifest.abstention is not None
    card = with_abstention(card, manifest.abstention, name=manifest.name, version=manifest.version)
    assert figures_in(bundle.model_card()) == figures_in(card)
    checklist = clear_derm(config, start=figures["start"], counts=figures["pictures"], judgement=figures["sets"])
    assert figures_in(bundle.path("CLEAR_DERM.md").read_text(encoding="utf-8")) == figures_in(checklist)


def figures_in(text: str) -> list[str]:
    """Every decimal number, in order; wording may change after a bundle was written."""
    return re.findall(r"\d+\.\d+", text)


def test_the_card_names_points_that_coincide_or_miss_their_aim(judgement: dict[str, Any]) -> None:
    judged = deepcopy(judgement)
    manifest = fields_of_a_manifest({"trained-on": "1", "held-out": "2"})
    first, second = (figures["operating_points"] for figures in judged.values())
    for points in (first, second):
        for point, threshold in zip(points, (0.3, 0.1, 0.3), strict=True):
            point["threshold"] = threshold
        for point in points[1:]:
            point["sensitivity"]["value"] = 0.96
    second[2]["sensitivity"] = {"value": 0.75, "low": 0.66, "high": 0.82}
    text = model_card(manifest, Config(), judged)
    assert "- `balanced` and `dermatologist` are the same threshold here." in text
    missed = "- `dermatologist` was chosen for a sensitivity of 0.82 and has 0.750 [0.660, 0.820] on `tested`."
    assert missed in text
    assert text.count("was chosen for a sensitivity") == 1
    second[2]["sensitivity"]["value"] = 0.9
    for point, threshold in zip(first, (0.3, 0.1, 0.2), strict=True):
        point["threshold"] = threshold
    assert "same threshold" not in (other := model_card(manifest, Config(), judged))
    assert "was chosen for a sensitivity" not in other
    assert "melanoma 20.0%, seborrheic keratosis 10.0%, nevus 70.0%" in other


def fields_of_a_manifest(data: dict[str, str]) -> dict[str, Any]:
    """What the card takes from a manifest."""
    provenance = Provenance(
        git_commit="0" * 40,
        created_at=datetime.now(UTC),
        start="some start",
        data=data,
        seeds=[0],
        config={"export": {"git_commit": "1" * 40}},
        metrics={"held-out": {"mean_auc": 0.75}},
    )
    return {
        "name": "a-model",
        "version": "1.0.0",
        "licence": "Apache-2.0",
        "intended_use": "Research.",
        "classes": [],
        "temperature": [1.0, 1.0],
        "prevalence": {"melanoma": 0.2, "seborrheic_keratosis": 0.1, "nevus": 0.7},
        "provenance": provenance,
        "variants": [],
    }


def test_no_prevalence_is_listed_twice() -> None:
    labels = np.array([0] * 20 + [1] * 30 + [2] * 50)
    answers = replace(random_answers(100), labels=labels)
    (judged,) = judge({"some-set": answers}).values()
    shares = [value["prevalence"] for value in judged["operating_points"][0]["predictive_values"]]
    assert shares == [0.01, 0.02, 0.05, 0.10, 0.20]


def test_answers_to_other_questions_are_refused(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    for name in ("branches.csv", "truth.csv"):
        shutil.copy(small_experiment.run / "evaluation" / "test" / name, tmp_path / name)
    calibration = Calibration(torch.ones(2), torch.zeros(3))
    assert len(read_answers(tmp_path, calibration).labels) == 12
    shutil.copy(small_experiment.run / "evaluation" / "validation" / "truth.csv", tmp_path / "truth.csv")
    with pytest.raises(ValueError, match="evaluate that split again"):
        read_answers(tmp_path, calibration)


def test_a_report_needs_an_evaluation(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    result = small_experiment.command("report", "--out", str(tmp_path / "report"), run=tmp_path / "run")
    assert result.exit_code == 1
    assert not (tmp_path / "report").exists()


def test_the_checklist_has_all_items(judgement: dict[str, Any]) -> None:
    config = Config.model_validate({"data": {"frame_size": 256, "copies_jpeg_quality": 75}})
    counts = {"isic2017-train": {"melanoma": 3, "seborrheic_keratosis": 4, "nevus": 5}}
    text = clear_derm(config, start="some start", counts=counts, judgement=judgement)
    assert [int(number) for number in re.findall(r"^(\d+)\. \*\*", text, flags=re.MULTILINE)] == list(range(1, 26))
    assert re.findall(r"^## (.+)", text, flags=re.MULTILINE) == [
        "Data",
        "Technique",
        "Technical assessment",
        "Application",
    ]
    assert "Trained on `isic2017-train`" in text
    assert "JPEG of quality 75" in text
    assert "`isic2017-train` 12" in text
    assert "some start" in text
