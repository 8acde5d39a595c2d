"""Our figures against the official scorer and scikit-learn, on random, tied and one-class vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from isic_challenge_scoring import metrics as scorer
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore
from isic_challenge_scoring.segmentation import SegmentationScore
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from model_training.data.isic import CLASSES_2016, CLASSES_2017
from model_training.evaluation.calibration import (
    classwise_calibration_error,
    fit_calibration,
    fit_temperature,
    operating_points,
)
from model_training.evaluation.predictions import read_predictions, write_predictions, write_truth
from model_training.metrics import (
    area_under_roc,
    argmax_decisions,
    average_precision,
    box_iou,
    jaccard,
    rates,
    threshold_decisions,
    wilson_interval,
)
from model_training.network.cin import summed_probabilities
from model_training.network.losses import class_weights

CLOSE: dict[str, Any] = {"abs": 1e-12, "rel": 0}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
@settings(max_examples=200)
def test_auc_and_ap_with_many_ties(pairs: list[tuple[bool, int]]) -> None:
    truth = np.array([p[0] for p in pairs])
    scores = np.array([p[1] / 5 for p in pairs])
    if truth.all() or not truth.any():
        assert math.isnan(area_under_roc(truth, scores))
    else:
        assert area_under_roc(truth, scores) == pytest.approx(roc_auc_score(truth, scores), **CLOSE)
    if truth.any():
        assert average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores), **CLOSE)
    else:
        assert math.isnan(average_precision(truth, scores))


def random_probabilities(seed: int, num: int, classes: int, levels: int | None) -> np.ndarray:
    raw = np.random.default_rng(seed).dirichlet(np.ones(classes), num)
    return raw if levels is None else np.round(raw * levels) / np.round(raw * levels).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 4], ids=["random", "tied"])
@pytest.mark.parametrize("classes", [CLASSES_2017, CLASSES_2016], ids=["2017", "2016"])
def test_the_official_scorer_on_our_files(
    tmp_path: Path, seed: int, levels: int | None, classes: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(seed + 100)
    ids = [f"ISIC_{i:07d}" for i in range(80)]
    labels = rng.permutation(np.arange(80) % len(classes))
    probabilities = random_probabilities(seed, 80, len(classes), levels)
    write_truth(tmp_path / "truth.csv", ids, labels.tolist(), classes)
    write_predictions(tmp_path / "predictions.csv", ids, probabilities, classes)
    score = ClassificationScore.from_file(
        tmp_path / "truth.csv", tmp_path / "predictions.csv", ClassificationMetric.AVERAGE_PRECISION
    )
    again, read = read_predictions(tmp_path / "predictions.csv", classes)
    assert again == ids
    np.testing.assert_allclose(read, probabilities, atol=1e-12)
    decided = threshold_decisions(read)
    for task in score.per_category.index:
        k = classes.index(task)
        theirs, ours = score.per_category.loc[task], rates(labels == k, decided[:, k])
        assert theirs["auc"] == pytest.approx(area_under_roc(labels == k, read[:, k]), **CLOSE)
        assert theirs["ap"] == pytest.approx(average_precision(labels == k, read[:, k]), **CLOSE)
        assert theirs["accuracy"] == pytest.approx(ours.accuracy, **CLOSE)
        assert theirs["sensitivity"] == pytest.approx(ours.sensitivity, **CLOSE)
        assert theirs["specificity"] == pytest.approx(ours.specificity, **CLOSE)


@pytest.mark.parametrize("truth", [np.zeros(4, dtype=bool), np.ones(4, dtype=bool)], ids=["negative", "positive"])
def test_one_class_as_the_official_scorer_has_it(truth: np.ndarray) -> None:
    for decided in (truth, ~truth, np.array([True, False, True, True])):
        counts = {"TP": truth & decided, "FN": truth & ~decided, "FP": ~truth & decided, "TN": ~truth & ~decided}
        confusion = pd.Series({name: int(flags.sum()) for name, flags in counts.items()})
        ours = rates(truth, decided)
        assert ours.accuracy == scorer.binary_accuracy(confusion)
        assert ours.sensitivity == scorer.binary_sensitivity(confusion)
        assert ours.specificity == scorer.binary_specificity(confusion)


def test_the_two_decision_rules_differ_for_three_classes() -> None:
    probabilities = np.array([[0.4, 0.35, 0.25], [0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    assert argmax_decisions(probabilities).tolist() == [
        [True, False, False],
        [True, False, False],
        [False, False, True],
    ]
    assert threshold_decisions(probabilities).sum(axis=1).tolist() == [0, 0, 1], "0.5 itself is not above"


def test_masks_as_the_official_scorer_has_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # Values on both sides of the scorer's limit, which is above 128; the last pair is empty.
    masks = rng.choice(np.array([0, 127, 128, 129, 255], dtype=np.uint8), (6, 2, 20, 30))
    masks[5] = 128
    for folder in ("truth", "predictions"):
        (tmp_path / folder).mkdir()
    for i, pair in enumerate(masks):
        for folder, mask in zip(("truth", "predictions"), pair, strict=True):
            Image.fromarray(mask).save(tmp_path / folder / f"ISIC_{i:07d}_segmentation.png")
    score = SegmentationScore.from_dir(tmp_path / "truth", tmp_path / "predictions")
    ours = [jaccard(found > 128, truth > 128) for truth, found in masks]
    assert ours[5] == 1.0
    assert score.macro_average["jaccard"] == pytest.approx(float(np.mean(ours)), **CLOSE)


def test_box_iou_counts_pixels() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        boxes = []
        for _ in range(2):
            x, y = np.sort(rng.integers(0, 12, 2)), np.sort(rng.integers(0, 12, 2))
            boxes.append(np.array([[x[0], y[0], x[1], y[1]]], dtype=float))
        grids = []
        for box in boxes:
            x0, y0, x1, y1 = box[0].astype(int)
            grid = np.zeros((12, 12), dtype=bool)
            grid[y0:y1, x0:x1] = True
            grids.append(grid)
        union = (grids[0] | grids[1]).sum()
        expected = (grids[0] & grids[1]).sum() / union if union else 0.0
        assert box_iou(boxes[0], boxes[1])[0] == pytest.approx(expected)


def test_wilson_interval_holds_its_share_at_the_ends() -> None:
    for total in (7, 150, 600):
        assert wilson_interval(0, total)[0] == 0.0
        assert wilson_interval(total, total)[1] == 1.0


@pytest.mark.parametrize(("successes", "total"), [(0, 30), (30, 30), (21, 30), (1, 1), (59, 120)])
def test_wilson_interval_is_scipys(successes: int, total: int) -> None:
    theirs = binomtest(successes, total).proportion_ci(method="wilson")
    assert wilson_interval(successes, total) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_operating_points_are_the_best_there_are() -> None:
    rng = np.random.default_rng(2)
    malignant = rng.random(200) < 0.3
    scores = np.clip(rng.normal(0.3 + 0.3 * malignant, 0.15), 0, 1).round(2)
    points = {p.name: p for p in operating_points(malignant, scores, measured_on="here")}
    for threshold in np.linspace(0, 1, 501):
        measured = rates(malignant, scores >= threshold)
        balanced = points["balanced"]
        best = balanced.sensitivity.value + balanced.specificity.value
        assert measured.sensitivity + measured.specificity <= best + 1e-12
        if measured.sensitivity >= 0.95:
            assert measured.specificity <= points["high-sensitivity"].specificity.value + 1e-12
    assert points["high-sensitivity"].sensitivity.value >= 0.95
    with pytest.raises(ValueError, match="malignant and benign"):
        operating_points(np.ones(5, dtype=bool), np.linspace(0, 1, 5), measured_on="here")


def test_temperature_recovers_a_scale() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 1, 3) * 2
    labels = torch.multinomial(torch.softmax(logits[:, 0], dim=1), 1).squeeze(1)
    assert fit_temperature(logits * 3, labels, torch.zeros(3)) == pytest.approx(3.0, rel=0.03)


def test_the_mean_of_the_branches_is_calibrated_and_not_each_branch() -> None:
    """Two branches that each see another noisy measurement, and know how noisy it is."""
    torch.manual_seed(0)
    labels = torch.randint(3, (20_000,))
    measured = labels[:, None] + torch.randn(20_000, 2)
    logits = -0.5 * (measured[:, :, None] - torch.arange(3)) ** 2
    level = torch.zeros(3)
    alone, together = fit_temperature(logits[:, :1], labels, level), fit_temperature(logits, labels, level)
    assert alone == pytest.approx(1.0, rel=0.05)
    assert together < 0.8, "their mean is too unsure"

    def error(temperature: float) -> float:
        mean = torch.softmax(logits / temperature, dim=2).mean(dim=1)
        return float(torch.nn.functional.nll_loss(mean.log(), labels))

    assert error(together) < min(error(together * 1.1), error(together / 1.1), error(1.0))


def test_shares_of_the_training_set_calibrate_what_a_weighted_loss_has_levelled() -> None:
    """One measurement, three classes that overlap in it, and scores as a network that knows them would weigh them."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.tensor([0.15, 0.10, 0.75])
    labels = torch.multinomial(shares, 20_000, replacement=True, generator=generator)
    centres = torch.tensor([0.0, 1.0, 2.5])
    measured = centres[labels] + torch.randn(len(labels), generator=generator)
    levelled = -0.5 * (measured[:, None] - centres) ** 2  # log densities: every class as likely as the next
    weights = class_weights(labels, 3)
    assert torch.allclose(torch.softmax(-weights.log(), dim=0), torch.bincount(labels) / len(labels))
    logits = levelled[:, None] * torch.tensor([3.0, 3.0])[None, :, None]  # two branches, both overconfident
    level, mixed = torch.zeros(3), -weights.log()
    balanced = fit_calibration(logits, labels, fitted_at_K=level, used_at_K=level)
    shifted = fit_calibration(logits, labels, fitted_at_K=mixed, used_at_K=mixed)
    assert shifted.temperature_N.tolist() == pytest.approx([3.0, 3.0], rel=0.05)
    truth = labels.numpy()
    before, after = (summed_probabilities(logits, *c)[0].double().numpy() for c in (balanced, shifted))
    assert classwise_calibration_error(truth, after) < 0.01 < 0.1 < classwise_calibration_error(truth, before)
    # Fitted on images with many more of the second class, it is the same temperature.
    chosen = torch.cat([torch.nonzero(labels == k).flatten()[:n] for k, n in enumerate((1000, 1900, 3000))])
    here = -class_weights(labels[chosen], 3).log()
    elsewhere = fit_calibration(logits[chosen], labels[chosen], fitted_at_K=here, used_at_K=mixed)
    assert elsewhere.temperature_N.tolist() == pytest.approx([3.0, 3.0], rel=0.06)
    assert fit_temperature(logits[chosen], labels[chosen], mixed) < 2.7, "the training mix would not do here"


def test_predictions_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,melanoma\nISIC_0000000,0.5\n")
    with pytest.raises(ValueError, match="expected the columns image,melanoma,seborrheic_keratosis"):
        read_predictions(tmp_path / "p.csv", CLASSES_2017)


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.1"])
def test_values_that_are_no_probabilities_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "p.csv").write_text(f"image,malignant\nISIC_0000000,{value}\n")
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        read_predictions(tmp_path / "p.csv", CLASSES_2016)
