"""Can the distinguish module learn? D alone, on frozen features, with different optimisers and initialisations.

The paper gives a learning rate, 1e-3, but neither optimiser nor initialisation. The baseline is a logistic regression
on the same features, which scores a pair by the probability that both images have the same class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_training.arrays import Indices
from model_training.data.sampling import balanced_pair_batches, random_pair_batches, random_pairs
from model_training.metrics import area_under_roc
from model_training.network.distinguish import Distinguish, DistinguishNorm, Initialisation
from model_training.network.losses import distinguish_loss

BATCH = 32
EVALUATION_BATCH = 100


@dataclass(frozen=True)
class DistinguishRecipe:
    """How D is initialised, normalised and optimised."""

    optimiser: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 3e-4
    initialisation: Initialisation = "default"
    norm: DistinguishNorm = "none"
    pairs: Literal["random", "balanced"] = "random"
    num_steps: int = 392


RECIPES: Mapping[str, DistinguishRecipe] = MappingProxyType(
    {
        "sgd": DistinguishRecipe("sgd", 1e-3),
        "sgd-he": DistinguishRecipe("sgd", 1e-3, "he"),
        "sgd-input-norm": DistinguishRecipe("sgd", 1e-3, norm="input"),
        "sgd-he-input-norm": DistinguishRecipe("sgd", 1e-3, "he", norm="input"),
        "sgd-norm": DistinguishRecipe("sgd", 1e-3, norm="all"),
        "sgd-he-norm": DistinguishRecipe("sgd", 1e-3, "he", norm="all"),
        "sgd-1e-2-he-input-norm": DistinguishRecipe("sgd", 1e-2, "he", norm="input"),
        "sgd-1e-2-norm": DistinguishRecipe("sgd", 1e-2, norm="all"),
        "adamw": DistinguishRecipe(),
        "adamw-he": DistinguishRecipe(initialisation="he"),
        "adamw-norm": DistinguishRecipe(norm="all"),
        "adamw-input-norm": DistinguishRecipe(norm="input"),
        "adamw-he-input-norm": DistinguishRecipe(initialisation="he", norm="input"),
        "adamw-1e-3": DistinguishRecipe(learning_rate=1e-3),
        "adamw-he-1e-3": DistinguishRecipe(learning_rate=1e-3, initialisation="he"),
        "adamw-he-balanced": DistinguishRecipe(initialisation="he", pairs="balanced"),
    }
)


def make_distinguish(channels: int, recipe: DistinguishRecipe) -> Distinguish:
    """D with the recipe's initialisation."""
    return Distinguish(channels, norm=recipe.norm, initialisation=recipe.initialisation)


def train_distinguish(
    features_NCHW: NDArray[np.float16],
    labels_N: Indices,
    held_out_N: NDArray[np.bool_],
    recipe: DistinguishRecipe,
    *,
    seed: int,
    num_pairs: int,
    num_looks: int = 4,
) -> dict[str, Any]:
    """Train D on pairs of images that are not held out; returns its AUC on ``num_pairs`` random held-out pairs.

    ``curve`` has the steps, the mean training loss since the last entry, and the AUC on held-out pairs.
    """
    inside, outside = np.flatnonzero(~held_out_N), np.flatnonzero(held_out_N)
    judged = outside[random_pairs(len(outside), num_pairs, seed=2017)]
    torch.manual_seed(seed)
    module = make_distinguish(features_NCHW.shape[1], recipe)
    if recipe.optimiser == "sgd":
        optimiser: torch.optim.Optimizer = torch.optim.SGD(
            module.parameters(), recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=1e-4
        )
    else:
        optimiser = torch.optim.AdamW(module.parameters(), recipe.learning_rate, weight_decay=1e-2)
    curve: list[dict[str, float]] = []
    losses: list[float] = []
    step = 0
    for epoch in range(recipe.num_steps):
        if recipe.pairs == "balanced":
            batches = balanced_pair_batches(labels_N[inside], BATCH, seed=seed, epoch=epoch)
        else:
            batches = random_pair_batches(len(inside), BATCH, seed=seed, epoch=epoch)
        for batch in batches:
            module.train()
            sides = inside[batch]
            first, second = (torch.from_numpy(labels_N[side]) for side in sides)
            same = module(*(_maps(features_NCHW, side) for side in sides))
            loss = distinguish_loss(same, first, second)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            step += 1
            if step % (recipe.num_steps // num_looks) == 0:
                auc = pair_auc(distinguish_scores(module, features_NCHW, judged), labels_N, judged)
                curve.append({"step": step, "loss": float(np.mean(losses)), "pair_auc": auc})
                losses.clear()
            if step == recipe.num_steps:
                return {"recipe": asdict(recipe), "curve": curve, "pair_auc": curve[-1]["pair_auc"]}
    raise AssertionError("an epoch has at least one step")


def distinguish_scores(module: Distinguish, features_NCHW: NDArray[np.float16], pairs_2B: Indices) -> Tensor:
    """The logits of "same class", ``[B]``."""
    module.eval()
    with torch.inference_mode():
        parts = [
            module(*(_maps(features_NCHW, side[i : i + EVALUATION_BATCH]) for side in pairs_2B))
            for i in range(0, pairs_2B.shape[1], EVALUATION_BATCH)
        ]
    return torch.cat(parts)


def pair_auc(scores_B: Tensor, labels_N: Indices, pairs_2B: Indices) -> float:
    """The AUC of the scores for telling pairs of the same class from others."""
    same_B = labels_N[pairs_2B[0]] == labels_N[pairs_2B[1]]
    return area_under_roc(same_B, scores_B.double().numpy())


def regression_pair_auc(
    features_NCHW: NDArray[np.float16], labels_N: Indices, held_out_N: NDArray[np.bool_], *, num_pairs: int
) -> float:
    """The AUC of a logistic regression on the pooled features, whose score of a pair is sum_k p_k(a) p_k(b)."""
    from sklearn.linear_model import LogisticRegression  # takes seconds to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pooled_NC = np.asarray(features_NCHW, dtype=np.float32).mean(axis=(2, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=1000))
    model.fit(pooled_NC[~held_out_N], labels_N[~held_out_N])
    probabilities_NK = model.predict_proba(pooled_NC)
    outside = np.flatnonzero(held_out_N)
    pairs = outside[random_pairs(len(outside), num_pairs, seed=2017)]
    scores = (probabilities_NK[pairs[0]] * probabilities_NK[pairs[1]]).sum(axis=1)
    return pair_auc(torch.from_numpy(scores), labels_N, pairs)


def _maps(features_NCHW: NDArray[np.float16], indices: Indices) -> Tensor:
    return torch.from_numpy(np.asarray(features_NCHW[indices], dtype=np.float32))
