"""How the penalties of a regression on frozen features bear on its ranking, and on what changed images do to it.

The regression is that of ``network.classifier_start``, on the means of all layers over crops around the true masks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_training.arrays import Indices
from model_training.data.artefacts import ARTEFACTS, STORAGE, with_artefacts
from model_training.data.augment import STRONG, change_colours, random_colours, random_views
from model_training.data.frames import FrameSet
from model_training.data.isic import SCORED_2017
from model_training.data.tensors import frame_tensor
from model_training.files import replace_atomically
from model_training.metrics import class_aucs
from model_training.network.backbones import make_stages
from model_training.network.cin import Standardise
from model_training.network.crop import crop
from model_training.network.feature_extraction import normalise
from model_training.network.losses import class_weights
from model_training.training.pretrained import Pretrained
from model_training.training.recognition import NUM_CHANGED_COPIES, NUM_DIHEDRAL, dihedral_views
from model_training.training.regression import Penalty, fit_regression, variation_within

# Changes that the held-out images get, as in the measurement of robustness.
CHANGES = ("JPEG 60", "WebP 80", "half the resolution", "light -5 %", "4 hairs", "12 hairs", "soft vignette")

TURNS, COPIES = "turns", "copies"

BATCH = 20

# By name, the mean features ``[N, C]`` under each change, and ``[N, V, C]`` of turns and of changed copies.
ChangedFeatures = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """What the regression is fitted to (four turns, with or without as many changed copies), and its penalty."""

    penalty: Penalty
    copies: bool = True


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "turns-0.1": Recipe(Penalty(0.1), copies=False),
        "turns-0.01": Recipe(Penalty(0.01), copies=False),
        **{
            f"copies-{ridge:g}-{variation:g}": Recipe(Penalty(ridge, variation))
            for ridge in (0.1, 0.03, 0.01, 0.003)
            for variation in (0.0, 0.3, 1.0, 3.0)
        },
    }
)


def changed_features(
    pictures: FrameSet, boxes_N4: Tensor, pretrained: Pretrained, *, size: int, cache: Path
) -> ChangedFeatures:
    """The features of all images, as they are and changed; kept in ``cache``, where an interrupted call resumes."""
    digest = hashlib.sha256(f"{pictures.digest} {pretrained.sha256} {size}".encode() + boxes_N4.numpy().tobytes())
    folder = cache / f"changed-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    network = make_stages().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.load_pretrained(pretrained.weights)

    def means(crops_B3SS: Tensor) -> Tensor:
        with torch.inference_mode():
            layers = network(normalise(crops_B3SS.contiguous(memory_format=torch.channels_last)))[1:]
        return torch.cat([layer.mean(dim=(2, 3)) for layer in layers], dim=1)

    def turns(indices: Indices) -> Tensor:
        crops = crop(frame_tensor(torch.from_numpy(pictures.frames[indices])), boxes_N4[indices], size)
        chosen = islice(dihedral_views(crops), 0, None, NUM_DIHEDRAL // NUM_CHANGED_COPIES)
        return torch.stack([means(view) for view in chosen], dim=1)

    def copies(indices: Indices) -> Tensor:
        generator = torch.Generator().manual_seed(int(indices[0]))
        changed = []
        for copy in range(NUM_CHANGED_COPIES):
            frames = with_artefacts(pictures.frames, indices, 1.0, seed=(0, copy))
            how = random_views(len(indices), STRONG, generator)
            crops = crop(frame_tensor(torch.from_numpy(frames)), boxes_N4[indices], size, how)
            changed.append(means(change_colours(crops, random_colours(len(indices), STRONG, generator))))
        return torch.stack(changed, dim=1)

    def under(name: str) -> Callable[[Indices], Tensor]:
        change = {**STORAGE, **ARTEFACTS}[name]

        def features(indices: Indices) -> Tensor:
            frames = [change(np.asarray(pictures.frames[n]), np.random.default_rng(n)) for n in indices.tolist()]
            return means(crop(frame_tensor(torch.from_numpy(np.stack(frames))), boxes_N4[indices], size))

        return features

    kinds = {TURNS: turns, COPIES: copies, **{name: under(name) for name in CHANGES}}
    return {name: _kept(folder / f"{name}.npy", len(pictures), features) for name, features in kinds.items()}


def _kept(path: Path, num: int, features: Callable[[Indices], Tensor]) -> NDArray[np.float32]:
    if not path.is_file():
        batches = [np.arange(first, min(first + BATCH, num)) for first in range(0, num, BATCH)]
        found = torch.cat([features(indices) for indices in batches]).numpy()

        def save(scratch: Path) -> None:
            with scratch.open("wb") as file:  # np.save would add a suffix to the path
                np.save(file, found)

        replace_atomically(path, save)
    kept: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return kept


def regression_control(
    features: ChangedFeatures, labels_N: Indices, held_out_N: NDArray[np.bool_], recipe: Recipe
) -> dict[str, float]:
    """Mean AUC of melanoma and of seborrheic keratosis on ``held_out_N``, for classes in the order of 2017.

    For each change of the images also that, and by how much the probability of melanoma moves in the mean.
    """
    learnt = ~held_out_N
    kinds = [features[TURNS], features[COPIES]] if recipe.copies else [features[TURNS]]
    learnt_NVC = torch.from_numpy(np.concatenate([kind[learnt] for kind in kinds], axis=1))
    labels = torch.from_numpy(labels_N[learnt])
    channels, num_classes = learnt_NVC.shape[2], int(labels.max()) + 1
    standardise, layer = Standardise(channels), nn.Linear(channels, num_classes)
    standardise.fit(learnt_NVC.flatten(0, 1))
    learnt_NVC = standardise(learnt_NVC)
    fit_regression(
        layer,
        learnt_NVC.flatten(0, 1),
        labels.repeat_interleave(learnt_NVC.shape[1]),
        class_weights(labels, num_classes),
        recipe.penalty,
        variation_within(learnt_NVC) if recipe.penalty.variation else None,
    )

    def scores(held_NC: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.no_grad():
            return layer(standardise(torch.from_numpy(np.array(held_NC)))).softmax(dim=1).double().numpy()

    def auc(scores_NK: NDArray[np.float64]) -> float:
        return float(class_aucs(labels_N[held_out_N], scores_NK, SCORED_2017).mean())

    clean_NK = scores(features[TURNS][held_out_N, 0])
    figures = {"mean_auc": auc(clean_NK)}
    for name in CHANGES:
        changed_NK = scores(features[name][held_out_N])
        figures[f"auc: {name}"] = auc(changed_NK)
        figures[f"p moves: {name}"] = float(np.abs(changed_NK - clean_NK)[:, 0].mean())
    return figures
