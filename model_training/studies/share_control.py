"""What does D's loss do to the classification? Two branches on frozen features, with lambda of Eqn 6 and pairs varied.

As in the model that ships, one residual block behind the frozen ones learns, with a classifier that starts as a
regression and keeps its penalty; one branch sees the crop, the other the whole image, and their probabilities add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_training.arrays import Indices, Scores
from model_training.data.sampling import balanced_pair_batches, epoch_order, random_pair_batches, random_pairs
from model_training.network.cin import Standardise
from model_training.network.distinguish import Distinguish
from model_training.network.losses import class_weights, classification_loss, distinguish_loss, total_loss
from model_training.network.resnet import ResidualBlock
from model_training.studies.classifier_control import auc_figures
from model_training.studies.distinguish_control import pair_auc
from model_training.training.devices import cpu_multiplies_bfloat16
from model_training.training.regression import Penalty, fit_regression

BATCH = 32
EVALUATION_BATCH = 200
NUM_CLASSES = 3
# Partners among which the hardest is chosen.
NUM_CANDIDATES = 32
PENALTY = Penalty(0.1)

# Features of the crops and of the whole images, [N, C, H, W] each.
Views = Sequence[NDArray[np.float16]]


@dataclass(frozen=True)
class ShareRecipe:
    """Lambda, how fast the features learn, and how pairs are drawn."""

    share: float
    # Constant, or growing from 0 to ``share`` while training.
    schedule: Literal["constant", "rising"] = "constant"
    # Of the residual block; the first is the rate that ships.
    learning_rate: float = 1e-4
    # Of the classifiers: a regression on the frozen features, as ships, or random weights, as in the paper.
    start: Literal["regression", "random"] = "regression"
    # Hard: of the same class and unlike, or of another class and alike, by the frozen features.
    pairs: Literal["random", "balanced", "hard"] = "random"
    epochs: int = 3


RECIPES: Mapping[str, ShareRecipe] = MappingProxyType(
    {
        "lambda-0": ShareRecipe(0.0),
        "lambda-0.1": ShareRecipe(0.1),
        "lambda-1": ShareRecipe(1.0),
        "fast-lambda-0": ShareRecipe(0.0, learning_rate=1e-3),
        "fast-lambda-0.1": ShareRecipe(0.1, learning_rate=1e-3),
        "fast-lambda-1": ShareRecipe(1.0, learning_rate=1e-3),
        "random-lambda-0": ShareRecipe(0.0, learning_rate=1e-3, start="random"),
        "random-lambda-0.1": ShareRecipe(0.1, learning_rate=1e-3, start="random"),
        "random-lambda-1": ShareRecipe(1.0, learning_rate=1e-3, start="random"),
        "random-lambda-1-rising": ShareRecipe(1.0, schedule="rising", learning_rate=1e-3, start="random"),
        # Pairs that are not random also change how often the second branch sees each class: hence with and without D.
        "fast-lambda-0-balanced": ShareRecipe(0.0, pairs="balanced", learning_rate=1e-3),
        "fast-lambda-1-balanced": ShareRecipe(1.0, pairs="balanced", learning_rate=1e-3),
        "fast-lambda-0-hard": ShareRecipe(0.0, pairs="hard", learning_rate=1e-3),
        "fast-lambda-1-hard": ShareRecipe(1.0, pairs="hard", learning_rate=1e-3),
    }
)


class ShareBranch(nn.Module):
    """A residual block that starts as the identity, and a classifier of its means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = ResidualBlock(channels, channels)
        nn.init.zeros_(self.block.bn2.weight)
        self.standardise = Standardise(channels)
        self.classify = nn.Linear(channels, NUM_CLASSES)

    def forward(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The logits ``[B, K]`` and the features that D sees."""
        features = self.block(features_BCHW)
        return self.classify(self.standardise(features.float().mean(dim=(2, 3)))), features


def share_control(
    views: Views, labels_N: Indices, held_out_N: NDArray[np.bool_], recipe: ShareRecipe, *, seed: int, num_pairs: int
) -> dict[str, Any]:
    """Train on the images that are not held out; returns the AUCs of those that are, and D's on pairs of them."""
    inside, outside = np.flatnonzero(~held_out_N), np.flatnonzero(held_out_N)
    torch.manual_seed(seed)
    branches = [ShareBranch(view.shape[1]) for view in views]
    module = Distinguish(views[0].shape[1], norm="input", initialisation="he")
    labels = torch.from_numpy(labels_N)
    weights = class_weights(labels[inside], NUM_CLASSES)
    for branch, view in zip(branches, views, strict=True):
        _start(branch, view[inside], labels[inside], weights, recipe)
    started = auc_figures(labels_N[outside], _probabilities(branches, views, outside))
    groups = [
        {"params": [p for branch in branches for p in branch.block.parameters()], "lr": recipe.learning_rate},
        {"params": [p for branch in branches for p in branch.classify.parameters()], "lr": 3e-4},
        {"params": module.parameters(), "lr": 3e-4},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-2)
    num_steps = recipe.epochs * (len(inside) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    step = 0
    for epoch in range(recipe.epochs):
        for batch in _batches(recipe, views[0][inside], labels_N[inside], seed=seed, epoch=epoch):
            sides = inside[batch]
            for trained in (*branches, module):
                trained.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=cpu_multiplies_bfloat16()):
                outputs = [branch(_maps(view, side)) for branch, view, side in zip(branches, views, sides, strict=True)]
                same = module(outputs[0][1], outputs[1][1])
            first, second = (labels[side] for side in sides)
            losses = [
                classification_loss(logits, label, weights) + PENALTY.of(branch.classify, None)
                for (logits, _), label, branch in zip(outputs, (first, second), branches, strict=True)
            ]
            share = recipe.share * (step / num_steps if recipe.schedule == "rising" else 1)
            loss = total_loss(torch.stack(losses).sum(), distinguish_loss(same, first, second), share)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
    pairs = outside[random_pairs(len(outside), num_pairs, seed=2017)]
    figures = auc_figures(labels_N[outside], _probabilities(branches, views, outside))
    return {
        "recipe": asdict(recipe),
        **figures,
        "started_at": started["mean_auc"],
        "pair_auc": _pair_auc(branches, module, views, labels_N, pairs),
    }


def hard_pairs(features_NC: NDArray[np.float32], labels_N: Indices, *, seed: int, epoch: int) -> Indices:
    """Pairs ``[2, N]``, every other one of the same class: of some candidates, the least or the most alike partner.

    Likeness is the cosine of the features.
    """
    first = epoch_order(len(labels_N), seed=seed, epoch=epoch)
    rng = np.random.default_rng((seed, epoch, 1))
    units_NC = features_NC / np.linalg.norm(features_NC, axis=1, keepdims=True)
    second = np.empty_like(first)
    for place, index in enumerate(first):
        same = place % 2 == 0
        candidates = rng.choice(np.flatnonzero((labels_N == labels_N[index]) == same), size=NUM_CANDIDATES)
        likeness = units_NC[candidates] @ units_NC[index]
        second[place] = candidates[likeness.argmin() if same else likeness.argmax()]
    return np.stack([first, second])


def _start(
    branch: ShareBranch,
    features_NCHW: NDArray[np.float16],
    labels_N: Tensor,
    weights_K: Tensor,
    recipe: ShareRecipe,
) -> None:
    means_NC = torch.from_numpy(np.asarray(features_NCHW, dtype=np.float32).mean(axis=(2, 3)))
    branch.standardise.fit(means_NC)
    if recipe.start == "regression":
        fit_regression(branch.classify, branch.standardise(means_NC), labels_N, weights_K, PENALTY)


def _batches(
    recipe: ShareRecipe, features_NCHW: NDArray[np.float16], labels_N: Indices, *, seed: int, epoch: int
) -> list[Indices]:
    if recipe.pairs == "balanced":
        return balanced_pair_batches(labels_N, BATCH, seed=seed, epoch=epoch)
    if recipe.pairs == "random":
        return random_pair_batches(len(labels_N), BATCH, seed=seed, epoch=epoch)
    means_NC = np.asarray(features_NCHW, dtype=np.float32).mean(axis=(2, 3))
    pairs = hard_pairs(means_NC, labels_N, seed=seed, epoch=epoch)
    return np.split(pairs[:, : len(labels_N) // BATCH * BATCH], len(labels_N) // BATCH, axis=1)


def _probabilities(branches: Sequence[ShareBranch], views: Views, indices: Indices) -> Scores:
    """The sum over the branches of their probabilities, ``[N, K]``."""
    parts = []
    with torch.inference_mode():
        for first in range(0, len(indices), EVALUATION_BATCH):
            some = indices[first : first + EVALUATION_BATCH]
            logits = [branch.eval()(_maps(view, some))[0] for branch, view in zip(branches, views, strict=True)]
            parts.append(torch.stack(logits).softmax(dim=2).sum(dim=0))
    return torch.cat(parts).double().numpy()


def _pair_auc(
    branches: Sequence[ShareBranch], module: Distinguish, views: Views, labels_N: Indices, pairs_2P: Indices
) -> float:
    module.eval()
    parts = []
    with torch.inference_mode():
        for first in range(0, pairs_2P.shape[1], EVALUATION_BATCH):
            sides = zip(branches, views, pairs_2P[:, first : first + EVALUATION_BATCH], strict=True)
            parts.append(module(*(branch.eval()(_maps(view, side))[1] for branch, view, side in sides)))
    return pair_auc(torch.cat(parts), labels_N, pairs_2P)


def _maps(features: NDArray[np.float16], indices: Indices) -> Tensor:
    return torch.from_numpy(np.asarray(features[indices], dtype=np.float32)).contiguous(
        memory_format=torch.channels_last
    )
