"""Classifiers that start as a ridge logistic regression on pretrained features (``network.classifier_start``).

Beside the size of the weights W, ``[K, C]``, the regression may be penalised for what changed copies of one image do to
its logits: r / 2 tr(W W') + v / 2 tr(W V W'), where V is the covariance of the standardised features within an image's
copies; so tr(W V W') is the variance of the logits within an image's copies, summed over the classes. Directions in
which compression, hairs, light or a turn move the features then hardly count. Training goes on with the same penalty, V
being that of the features before the first step. ``docs/modules.md`` says how r and v were chosen.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model_training.network.losses import classification_loss


class Penalty(NamedTuple):
    """The weights r and v of a regression's penalty, beside Eqn 4 divided by the number of images."""

    ridge: float
    variation: float = 0.0

    def of(self, layer: nn.Linear, variation_CC: Tensor | None) -> Tensor:
        """The penalty of a layer, a scalar; the bias is free. ``variation_CC`` is V, None for v = 0."""
        penalty = self.ridge / 2 * layer.weight.square().sum()
        if variation_CC is None:
            return penalty
        with _exact(variation_CC):
            return penalty + self.variation / 2 * ((layer.weight @ variation_CC) * layer.weight).sum()


def variation_within(features_NVC: Tensor) -> Tensor:
    """The covariance ``[C, C]`` of the features of N images within their copies, which lie along the second axis.

    It is that of these copies: squares are divided by the number of images times copies.
    """
    differences_MC = (features_NVC - features_NVC.mean(dim=1, keepdim=True)).flatten(0, 1)
    with _exact(differences_MC):
        return differences_MC.T @ differences_MC / len(differences_MC)


def fit_regression(
    layer: nn.Linear,
    features_NC: Tensor,
    labels_N: Tensor,
    weights_K: Tensor,
    penalty: Penalty,
    variation_CC: Tensor | None = None,
) -> None:
    """Set a layer to the logistic regression of the labels on the features, with the class weights of Eqn 4."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = classification_loss(layer(features_NC), labels_N, weights_K) + penalty.of(layer, variation_CC)
        total.backward()
        return total

    with _exact(features_NC):  # LBFGS needs exact gradients
        optimiser.step(loss)
    layer.zero_grad()


def _exact(values: Tensor) -> AbstractContextManager[None]:
    """Without autocast on the values' device."""
    return torch.autocast(values.device.type, enabled=False)
