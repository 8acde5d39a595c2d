"""Would a second backbone, or a network taught by both, rank better? Logistic regressions on frozen features.

Two branches, on crops and whole images, whose probabilities add up. ``second`` adds two branches on another backbone's
features; the distilled ones have the first backbone's alone and learn from labels mixed with the answers of a teacher,
each to images that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model_training.arrays import Indices, Scores
from model_training.network.cin import Standardise
from model_training.network.losses import class_weights
from model_training.studies.classifier_control import PENALTY, auc_figures

# Features of every branch of the first and of the second backbone, [N, C] each.
Branches = tuple[Sequence[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True)
class TeacherRecipe:
    """The backbones whose branches answer, and those of the teacher, with the share of its answers in the targets."""

    backbones: tuple[int, ...]
    teacher: tuple[int, ...] = ()
    share: float = 0.0


RECIPES: Mapping[str, TeacherRecipe] = MappingProxyType(
    {
        "first": TeacherRecipe((0,)),
        "second-alone": TeacherRecipe((1,)),
        "second": TeacherRecipe((0, 1)),
        "distilled-0.3": TeacherRecipe((0,), teacher=(0, 1), share=0.3),
        "distilled-0.6": TeacherRecipe((0,), teacher=(0, 1), share=0.6),
        "distilled-from-itself-0.3": TeacherRecipe((0,), teacher=(0,), share=0.3),
    }
)


def teacher_control(
    branches: Branches, labels_N: Indices, fold_N: Indices, fold: int, recipe: TeacherRecipe
) -> dict[str, float]:
    """AUC of melanoma, of seborrheic keratosis and their mean on the images of ``fold``."""
    learnt = fold_N != fold
    labels = torch.from_numpy(labels_N)
    targets_NK = F.one_hot(labels, int(labels.max()) + 1).float()
    own = [features for backbone in recipe.backbones for features in branches[backbone]]
    if recipe.teacher:
        teachers = [features for backbone in recipe.teacher for features in branches[backbone]]
        prior_K = targets_NK[learnt].mean(dim=0)
        for inner in np.unique(fold_N[learnt]):
            outer_N = learnt & (fold_N != inner)
            asked_N = fold_N == inner
            answers_NK = torch.from_numpy(_answers(teachers, targets_NK, outer_N, asked_N, labels)).float() * prior_K
            taught_NK = answers_NK / answers_NK.sum(dim=1, keepdim=True)
            targets_NK[asked_N] = (1 - recipe.share) * targets_NK[asked_N] + recipe.share * taught_NK
    return auc_figures(labels_N[~learnt], _answers(own, targets_NK, learnt, ~learnt, labels))


def _answers(
    branches: Sequence[NDArray[np.float32]],
    targets_NK: Tensor,
    fitted_N: NDArray[np.bool_],
    asked_N: NDArray[np.bool_],
    labels_N: Tensor,
) -> Scores:
    """The sum of the branches' probabilities, each of a regression of the targets."""
    weights_K = class_weights(labels_N[fitted_N], targets_NK.shape[1])
    parts = []
    for features_NC in branches:
        features = torch.from_numpy(features_NC)
        standardise = Standardise(features.shape[1])
        standardise.fit(features[fitted_N])
        layer = _fit(standardise(features[fitted_N]), targets_NK[fitted_N], weights_K)
        with torch.no_grad():
            parts.append(layer(standardise(features[asked_N])).softmax(dim=1).double().numpy())
    return np.sum(parts, axis=0)


def _fit(features_NC: Tensor, targets_NK: Tensor, weights_K: Tensor) -> nn.Linear:
    """As :func:`~model_training.training.regression.fit_regression`, for targets that are shares of classes."""
    layer = nn.Linear(features_NC.shape[1], targets_NK.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        chosen_N = (targets_NK * weights_K * F.log_softmax(layer(features_NC), dim=1)).sum(dim=1)
        total = PENALTY.of(layer, None) - chosen_N.mean()
        total.backward()
        return total

    optimiser.step(loss)
    return layer
