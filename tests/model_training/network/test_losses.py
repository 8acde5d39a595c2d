"""Eqns 4 to 6 against literal loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from model_training.network.losses import area_loss, class_weights, classification_loss, distinguish_loss, total_loss


def test_eqn_4_is_the_literal_one_and_divides_by_the_number_of_pictures() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(7, 3), torch.tensor([0, 1, 2, 2, 1, 0, 2]), torch.tensor([0.5, 1.5, 2.0])
    total = 0.0
    for i in range(7):
        normaliser = sum(math.exp(float(v)) for v in logits[i])
        for j in range(3):
            y = 1.0 if int(labels[i]) == j else 0.0
            total += float(weights[j]) * y * math.log(math.exp(float(logits[i, j])) / normaliser)
    assert float(classification_loss(logits, labels, weights)) == pytest.approx(-total / 7, abs=1e-6)
    framework = torch.nn.functional.cross_entropy(logits, labels, weights)
    assert float(framework) != pytest.approx(-total / 7, abs=1e-3), "PyTorch divides by the weights' sum"


def test_eqn_5_is_the_literal_one() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, -0.1])
    first, second = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 2, 2, 0])
    total = 0.0
    for x, a, b in zip(logits.tolist(), first.tolist(), second.tolist(), strict=True):
        score, y = 1 / (1 + math.exp(-x)), float(a == b)
        total += y * math.log(score) + (1 - y) * math.log(1 - score)
    assert float(distinguish_loss(logits, first, second)) == pytest.approx(-total / 4, abs=1e-6)


def test_eqn_6() -> None:
    assert float(total_loss(torch.tensor(2.0), torch.tensor(3.0), 0.5)) == 3.5


def test_area_loss_is_pixel_wise_cross_entropy() -> None:
    logits, truth = torch.tensor([[[0.5, -1.0]]]), torch.tensor([[[1.0, 0.0]]])
    expected = -(math.log(1 / (1 + math.exp(-0.5))) + math.log(1 - 1 / (1 + math.exp(1.0)))) / 2
    assert float(area_loss(logits, truth)) == pytest.approx(expected, abs=1e-6)


def test_class_weights_are_inverse_frequencies_of_mean_one() -> None:
    weights = class_weights(torch.tensor([0] * 374 + [1] * 254 + [2] * 1372), 3)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights[0] / weights[2]) == pytest.approx(1372 / 374)


def test_a_class_without_pictures_has_no_weight() -> None:
    with pytest.raises(ValueError, match=r"class \[1\]"):
        class_weights(torch.tensor([0, 2]), 3)
