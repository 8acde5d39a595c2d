"""Does the lesion feature attention have an effect? One branch on frozen features, with several forms of Eqns 1, 2.

The branch is trained with attention, then judged with it, without it (alpha = beta = 0), with uniform maps (the same
magnitude, but no choice of positions) and with shuffled maps.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model_training.arrays import Indices
from model_training.data.isic import SCORED_2017
from model_training.data.sampling import random_batches
from model_training.evaluation.module_figures import (
    Faithfulness,
    central_importance,
    deletion_insertion,
    effective_columns,
    effective_rows,
    gains_over_chance,
    probability_change,
    random_importance,
    row_spread,
    shuffled,
)
from model_training.metrics import class_aucs
from model_training.network.lesion_feature_attention import CorrelationAttention, SpatialAttention
from model_training.network.losses import class_weights, classification_loss
from model_training.studies.attention_recipes import AttentionRecipe

BATCH = 64
# Number of images; deletion and insertion run the branch about a hundred times for each.
NUM_FAITHFULNESS = 120
NUM_CLASSES = 3

Mode = Literal["on", "off", "uniform", "shuffled"]


class Attended(NamedTuple):
    """F_A of Eqn 3 and the two maps."""

    features_BCHW: Tensor
    spatial_BCHW: Tensor | None
    correlation_BMM: Tensor | None


class ControlBranch(nn.Module):
    """Attention and two fully connected layers, on feature maps ``[B, C, H, W]``."""

    def __init__(self, channels: int, recipe: AttentionRecipe, *, hidden: int = 256) -> None:
        super().__init__()
        self.recipe = recipe
        self.spatial = SpatialAttention(channels) if recipe.spatial else None
        self.correlation = CorrelationAttention(channels, "row") if recipe.correlation else None
        self.alpha = nn.Parameter(torch.tensor(recipe.start))
        self.beta = nn.Parameter(torch.tensor(recipe.start))
        self.first, self.last = nn.Linear(channels, hidden), nn.Linear(hidden, NUM_CLASSES)

    def relate(self, features_BCHW: Tensor) -> Tensor:
        """P of Eqn 2, ``[B, M, M]``, with the recipe's similarity and normalisation."""
        assert self.correlation is not None
        query = self.correlation.query(features_BCHW).flatten(2).transpose(1, 2)
        key = self.correlation.key(features_BCHW).flatten(2)
        if self.recipe.similarity == "cosine":
            query, key = F.normalize(query, dim=2) * self.recipe.sharpness, F.normalize(key, dim=1)
        elif self.recipe.similarity == "scaled":
            query = query * query.shape[2] ** -0.5
        energy = query @ key
        if self.recipe.correlation == "row":
            return energy.softmax(dim=2)
        return energy.flatten(1).softmax(dim=1).view_as(energy)

    def attend(self, features_BCHW: Tensor, mode: Mode, generator: torch.Generator | None = None) -> Attended:
        """Eqn 3 in one of the modes; ``shuffled`` draws from ``generator``."""
        num_positions = features_BCHW.shape[2] * features_BCHW.shape[3]
        result, spatial, correlation = features_BCHW, None, None
        if mode == "off":
            return Attended(result, None, None)
        if self.spatial is not None:
            spatial = self.spatial(features_BCHW)
            used = spatial
            if mode == "uniform":
                used = torch.full_like(spatial, 1 / num_positions) * (spatial.sum(dim=(2, 3), keepdim=True) > 0)
            elif mode == "shuffled":
                used = spatial.flatten(2)[:, :, torch.randperm(num_positions, generator=generator)].view_as(spatial)
            result = result + self.alpha * (num_positions if self.recipe.gain else 1) * (used * features_BCHW)
        if self.correlation is not None:
            correlation = self.relate(features_BCHW)
            used = correlation
            if mode == "uniform":
                used = correlation.mean(dim=(1, 2), keepdim=True).expand_as(correlation)
            elif mode == "shuffled":
                used = correlation[:, :, torch.randperm(num_positions, generator=generator)]
            gain = num_positions if self.recipe.gain and self.recipe.correlation == "matrix" else 1
            related = (used @ features_BCHW.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(features_BCHW)
            result = result + self.beta * gain * related
        return Attended(result, spatial, correlation)

    def classify(self, attended_BCHW: Tensor) -> Tensor:
        """Logits ``[B, K]``."""
        if self.recipe.head == "pooled":
            return self.last(F.relu(self.first(attended_BCHW.mean(dim=(2, 3)))))
        positions_BMC = attended_BCHW.flatten(2).transpose(1, 2)
        return self.last(F.relu(self.first(positions_BMC)).mean(dim=1))

    def forward(self, features_BCHW: Tensor, mode: Mode = "on", generator: torch.Generator | None = None) -> Tensor:
        """Logits ``[B, K]``."""
        return self.classify(self.attend(features_BCHW, mode, generator).features_BCHW)


def train_branch(
    features_NCHW: NDArray[np.float16], labels_N: Indices, recipe: AttentionRecipe, *, seed: int
) -> ControlBranch:
    """Train on all of these images: AdamW, a cosine schedule with a warm-up, the paper's class weights."""
    torch.manual_seed(seed)
    branch = ControlBranch(features_NCHW.shape[1], recipe)
    scalars = [branch.alpha, branch.beta]
    others = [p for name, p in branch.named_parameters() if name not in ("alpha", "beta")]
    rate = recipe.learning_rate
    groups: list[dict[str, Any]] = [
        {"params": others},
        {"params": scalars, "lr": rate * recipe.scalar_rate, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, rate, weight_decay=1e-2)
    labels = torch.from_numpy(labels_N)
    weights = class_weights(labels, NUM_CLASSES)
    num_steps = recipe.epochs * (len(labels_N) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], total_steps=num_steps, pct_start=0.2
    )
    for epoch in range(recipe.epochs):
        for (indices,) in random_batches(len(labels_N), BATCH, seed=seed, epoch=epoch):
            loss = classification_loss(branch(_maps(features_NCHW[indices])), labels[indices], weights)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return branch.eval()


def branch_figures(branch: ControlBranch, features_NCHW: NDArray[np.float16], labels_N: Indices) -> dict[str, Any]:
    """The figures of the trained branch and its attention on held-out images."""
    figures: dict[str, Any] = {"alpha": branch.alpha.item(), "beta": branch.beta.item()}
    modes: tuple[Mode, ...] = ("on", "off", "uniform", "shuffled")
    generator = torch.Generator().manual_seed(0)
    parts: dict[Mode, list[Tensor]] = {mode: [] for mode in modes}
    rows, columns, spread, spatial = [], [], [], []
    with torch.no_grad():
        for first in range(0, len(labels_N), BATCH):
            features = _maps(features_NCHW[first : first + BATCH])
            for mode in modes:
                parts[mode].append(branch(features, mode, generator).softmax(dim=1))
            attended = branch.attend(features, "on")
            if (correlation := attended.correlation_BMM) is not None:
                rows.append(effective_rows(correlation))
                columns.append(effective_columns(correlation))
                spread.append(row_spread(correlation))
            if attended.spatial_BCHW is not None:
                spatial.append(attended.spatial_BCHW.mean(dim=1).flatten(1))
    probabilities = {mode: torch.cat(part) for mode, part in parts.items()}
    for mode, probability in probabilities.items():
        figures[f"auc_{mode}"] = _mean_auc(probability, labels_N)
        if mode != "on":
            figures[f"change_{mode}"] = probability_change(probabilities["on"], probability)
    if columns:
        figures["effective_columns"] = float(torch.cat(columns).mean())
        figures["effective_rows"] = float(torch.cat(rows).mean())
        figures["row_spread"] = float(torch.cat(spread).mean())
    return figures


def faithfulness(
    branch: ControlBranch, features_NCHW: NDArray[np.float16], *, num_steps: int = 7
) -> dict[str, dict[str, Any]]:
    """Deletion and insertion of cells of the feature map (replaced by the mean feature), for the predicted class.

    For each map: the two areas, and their gain over random maps, with 95 % intervals.
    """
    blank_1C11 = torch.from_numpy(np.asarray(features_NCHW, np.float32).mean(axis=(0, 2, 3)))[None, :, None, None]
    generator = torch.Generator().manual_seed(0)
    areas: dict[str, list[Faithfulness]] = {}
    for first in range(0, len(features_NCHW), BATCH):
        features = _maps(features_NCHW[first : first + BATCH])
        with torch.no_grad():
            chosen_B = branch(features).argmax(dim=1)

        def score(changed: Tensor, chosen_B: Tensor = chosen_B) -> Tensor:
            with torch.no_grad():
                return branch(changed).softmax(dim=1).gather(1, chosen_B[:, None]).squeeze(1)

        for name, importance in importance_maps(branch, features, chosen_B, generator).items():
            blank = blank_1C11.expand_as(features)
            areas.setdefault(name, []).append(
                deletion_insertion(score, features, blank, importance, num_steps=num_steps)
            )
    return gains_over_chance(areas)


def importance_maps(
    branch: ControlBranch, features_BCHW: Tensor, chosen_B: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """The maps to compare, ``[B, H, W]``: the attention's, gradient x features, the centre, and random ones."""
    num, _, height, width = features_BCHW.shape
    maps = {"random": random_importance(num, height, generator), "centre": central_importance(num, height)}
    leaf = features_BCHW.clone().requires_grad_(True)
    branch(leaf).log_softmax(dim=1).gather(1, chosen_B[:, None]).sum().backward()
    assert leaf.grad is not None
    maps["gradient"] = (leaf.grad * features_BCHW).sum(dim=1)
    with torch.no_grad():
        attended = branch.attend(features_BCHW, "on")
        if attended.correlation_BMM is not None:
            maps["correlation"] = attended.correlation_BMM.sum(dim=1).view(num, height, width)
            maps["correlation-shuffled"] = shuffled(maps["correlation"], generator)
        if attended.spatial_BCHW is not None:
            maps["spatial"] = attended.spatial_BCHW.mean(dim=1)
            maps["spatial-shuffled"] = shuffled(maps["spatial"], generator)
    return maps


def attention_control(
    features_NCHW: NDArray[np.float16],
    labels_N: Indices,
    held_out_N: NDArray[np.bool_],
    recipe: AttentionRecipe,
    *,
    seed: int,
) -> dict[str, Any]:
    """Train with ``recipe`` on the images that are not held out; returns the figures on those that are."""
    trained_on = features_NCHW[~held_out_N]
    # Weights without layer4's last block give features of about 0.1, with which the new layers hardly train.
    scale = np.float16(1 / trained_on.std(dtype=np.float32))
    branch = train_branch(trained_on * scale, labels_N[~held_out_N], recipe, seed=seed)
    held_out = features_NCHW[held_out_N] * scale
    figures = branch_figures(branch, held_out, labels_N[held_out_N])
    return {"recipe": asdict(recipe), **figures, "faithfulness": faithfulness(branch, held_out[:NUM_FAITHFULNESS])}


def _mean_auc(probabilities_NK: Tensor, labels_N: Indices) -> float:
    return float(class_aucs(labels_N, probabilities_NK.double().numpy(), SCORED_2017).mean())


def _maps(features: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(np.asarray(features, dtype=np.float32))
