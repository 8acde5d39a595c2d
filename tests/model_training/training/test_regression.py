"""The penalties of a classifier that starts as a regression."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model_training.training.regression import Penalty, fit_regression, variation_within

NUM_IMAGES, NUM_COPIES = 200, 4
# Both features tell the classes apart; copies of one image differ in the second.
STEADY, CHANGING = 0, 1


def copies() -> tuple[Tensor, Tensor]:
    """Features of copies ``[N, V, 2]``, and the images' labels."""
    generator = torch.Generator().manual_seed(0)
    labels_N = torch.arange(NUM_IMAGES) % 2
    features_NVC = labels_N[:, None, None] + 0.7 * torch.randn(NUM_IMAGES, 1, 2, generator=generator)
    features_NVC = features_NVC.expand(-1, NUM_COPIES, -1).clone()
    features_NVC[..., CHANGING] += torch.randn(NUM_IMAGES, NUM_COPIES, generator=generator)
    return features_NVC, labels_N


def logits_of(penalty: Penalty) -> tuple[nn.Linear, Tensor]:
    """A regression on the copies, and its logits of the second class ``[N, V]``."""
    features_NVC, labels_N = copies()
    layer, variation_CC = nn.Linear(2, 2), variation_within(features_NVC)
    labels = labels_N.repeat_interleave(NUM_COPIES)
    fit_regression(layer, features_NVC.flatten(0, 1), labels, torch.ones(2), penalty, variation_CC)
    with torch.no_grad():
        return layer, layer(features_NVC)[..., 1]


def spread(logits_NV: Tensor) -> float:
    """How far the copies of an image lie apart, in units of the spread of all."""
    return float(logits_NV.std(dim=1).mean() / logits_NV.std())


def test_the_variation_is_that_within_images() -> None:
    variation_CC = variation_within(copies()[0])
    assert variation_CC[STEADY].abs().max() < 1e-6
    assert variation_CC[CHANGING, CHANGING] == pytest.approx(1 - 1 / NUM_COPIES, abs=0.1)


def test_the_penalty_is_half_the_weights_squares_and_the_logits_variance_within_images() -> None:
    features_NVC, _ = copies()
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        found = Penalty(0.2, 3.0).of(layer, variation_within(features_NVC))
        logits_NVK = layer(features_NVC)
        within = logits_NVK.var(dim=1, correction=0).mean(dim=0).sum()
        torch.testing.assert_close(found, 0.1 * layer.weight.square().sum() + 1.5 * within)


def test_the_regression_has_no_gradient_left() -> None:
    features_NVC, labels_N = copies()
    features_NC, labels = features_NVC.flatten(0, 1), labels_N.repeat_interleave(NUM_COPIES)
    layer, weights, variation_CC = nn.Linear(2, 2), torch.tensor([0.4, 1.6]), variation_within(features_NVC)
    fit_regression(layer, features_NC, labels, weights, Penalty(0.1, 2.0), variation_CC)
    with torch.no_grad():
        errors_NK = weights[labels, None] * (layer(features_NC).softmax(dim=1) - torch.eye(2)[labels])
        pull = 0.1 * layer.weight + 2.0 * layer.weight @ variation_CC
        assert pull.abs().max() > 0.01
        torch.testing.assert_close(errors_NK.T @ features_NC / len(labels), -pull, atol=1e-4, rtol=0)
        torch.testing.assert_close(errors_NK.mean(dim=0), torch.zeros(2), atol=1e-4, rtol=0)


def test_a_penalty_on_variation_makes_copies_agree() -> None:
    (_, free), (layer, steady) = (logits_of(Penalty(1e-3, variation)) for variation in (0.0, 10.0))
    assert spread(steady) < 0.3 * spread(free)
    assert layer.weight[1, STEADY] > 10 * layer.weight[1, CHANGING].abs()


def test_a_ridge_alone_does_not() -> None:
    (_, free), (_, small) = (logits_of(Penalty(ridge)) for ridge in (1e-3, 1.0))
    assert spread(small) > 0.8 * spread(free)
