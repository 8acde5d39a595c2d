"""How well a regression on frozen features separates the classes, by the layers it uses.

The paper's classifier uses only the last layer. Earlier layers describe colour and texture, which the last one has
learnt to discard.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_training.arrays import Indices, Scores
from model_training.data.isic import SCORED_2017
from model_training.metrics import class_aucs
from model_training.network.cin import Standardise
from model_training.network.losses import class_weights
from model_training.training.regression import Penalty, fit_regression

PENALTY = Penalty(ridge=0.1)

# The residual layers, from 1.
RECIPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"last": (4,), "last-two": (3, 4), "early": (1, 2, 3), "all": (1, 2, 3, 4)}
)


def classifier_control(
    means_LNC: Mapping[int, NDArray[np.float32]],
    labels_N: Indices,
    held_out_N: NDArray[np.bool_],
    layers: tuple[int, ...],
) -> dict[str, float]:
    """AUC of melanoma, of seborrheic keratosis and their mean on ``held_out_N``, for classes in the order of 2017.

    ``means_LNC`` has each layer's features, averaged over the positions, ``[N, C]``. The regression is the same as for
    ``network.classifier_start``.
    """
    features_NC = torch.from_numpy(np.concatenate([means_LNC[layer] for layer in layers], axis=1))
    labels, learnt = torch.from_numpy(labels_N), torch.from_numpy(~held_out_N)
    num_classes = int(labels.max()) + 1
    standardise, layer = Standardise(features_NC.shape[1]), nn.Linear(features_NC.shape[1], num_classes)
    standardise.fit(features_NC[learnt])
    weights = class_weights(labels[learnt], num_classes)
    fit_regression(layer, standardise(features_NC[learnt]), labels[learnt], weights, PENALTY)
    with torch.no_grad():
        scores = layer(standardise(features_NC[~learnt])).softmax(dim=1).double().numpy()
    return auc_figures(labels_N[held_out_N], scores)


def auc_figures(labels_N: Indices, scores_NK: Scores) -> dict[str, float]:
    """AUC of melanoma, of seborrheic keratosis and their mean, for classes in the order of 2017."""
    melanoma, keratosis = class_aucs(labels_N, scores_NK, SCORED_2017)
    return {
        "auc_melanoma": float(melanoma),
        "auc_keratosis": float(keratosis),
        "mean_auc": float(melanoma + keratosis) / 2,
    }
