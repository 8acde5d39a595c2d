"""Figures of answers: against scikit-learn, and against answers made to be known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from model_training.reporting.judgement import error_prediction, judge
from tests.model_training.reporting.answers import answers_of, random_answers


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


def test_two_classes_are_judged_on_their_images_alone() -> None:
    answers = random_answers(num=300, seed=3)
    pairs = judge({"only": answers})["only"]["class_pairs"]
    assert [pair["classes"] for pair in pairs] == [["melanoma", "seborrheic_keratosis"], ["melanoma", "nevus"]]
    for other, pair in zip((1, 2), pairs, strict=True):
        of = np.isin(answers.labels, (0, other))
        share = answers.probabilities[of, 0] / answers.probabilities[of][:, [0, other]].sum(axis=1)
        assert pair["auc"]["value"] == pytest.approx(roc_auc_score(answers.labels[of] == 0, share))
        assert pair["auc"]["low"] < pair["auc"]["value"] < pair["auc"]["high"]


def test_referrals_of_classes_and_groups_add_up() -> None:
    first, even = random_answers(num=300, seed=3), np.arange(300) % 2 == 0
    answers = replace(first, groups={"even": even, "odd": ~even, "nevi": first.labels == 2})
    judged = judge({"chosen": random_answers(num=200), "only": answers}, choose_rule=True)["only"]
    point = judged["operating_points"][0]
    referred = judged["referred"]
    assert referred["melanoma"]["value"] == pytest.approx(point["sensitivity"]["value"])
    benign = (referred["seborrheic_keratosis"]["value"] + referred["nevus"]["value"]) / 2  # of a hundred each
    assert 1 - benign == pytest.approx(point["specificity"]["value"])
    halves = [judged["groups"][name] for name in ("even", "odd")]
    caught = sum(half["sensitivity"]["value"] * half["num_malignant"] for half in halves)
    assert caught == pytest.approx(point["sensitivity"]["value"] * 100)
    assert halves[0]["auc"]["value"] == pytest.approx(
        roc_auc_score(answers.labels[even] == 0, answers.probabilities[even, 0])
    )
    assert judged["groups"]["nevi"] == {"num_images": 100, "num_malignant": 0}


def test_images_that_the_rule_refers_are_among_the_referred() -> None:
    chosen, answers = random_answers(num=200), random_answers(num=300, seed=3)
    without, with_rule = (
        judge({"chosen": chosen, "only": answers}, choose_rule=rule)["only"]["referred"]["nevus"]["value"]
        for rule in (False, True)
    )
    assert with_rule > without


def test_no_prevalence_is_listed_twice() -> None:
    labels = np.array([0] * 20 + [1] * 30 + [2] * 50)
    answers = replace(random_answers(100), labels=labels)
    (judged,) = judge({"some-set": answers}).values()
    shares = [value["prevalence"] for value in judged["operating_points"][0]["predictive_values"]]
    assert shares == [0.01, 0.02, 0.05, 0.10, 0.20]
