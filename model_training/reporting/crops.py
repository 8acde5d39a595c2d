"""The magnification of crops, and how much information the lesion's size has, from a set's true outlines.

The lesion area attention module shows the network every lesion at the same size, which hides its true size. A crop with
fewer pixels than the network's input is enlarged without gaining detail.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from model_training.arrays import Flags, Indices, Scores
from model_training.config import Config
from model_training.data.frames import FrameSet
from model_training.metrics import area_under_roc
from model_training.network.crop import smallest_rectangle

PERCENTILES = (5, 25, 50, 75, 95)
_BATCH = 64


def crop_figures(pictures: FrameSet, config: Config) -> dict[str, Any]:
    """The AUC of the lesion's size alone for each class against the rest, and the magnification of the crops.

    Sizes are shares of the image's area; a crop's side is the square root of its area in pixels of the frame.
    Raises ``ValueError`` for a set without outlines.
    """
    chosen = np.flatnonzero(pictures.has_mask)
    if len(chosen) == 0:
        raise ValueError(f"{pictures.name} has no lesion outlines, so there is nothing to crop by")
    fraction_N, side_N = _measure(pictures, config.network.crop_margin, chosen)
    labels_N = pictures.labels[chosen]
    side_pixels_N = side_N * pictures.frames.shape[1]
    magnification_N = config.network.size / side_pixels_N
    return {
        "set": pictures.name,
        "frame_size": int(pictures.frames.shape[1]),
        "network_size": config.network.size,
        "crop_margin": config.network.crop_margin,
        "num_outlines": len(chosen),
        "crop_side_pixels": _percentiles(side_pixels_N),
        "magnified": {"share": float((magnification_N > 1).mean()), "factor": _percentiles(magnification_N)},
        "classes": {name: _class_figures(labels_N == k, fraction_N) for k, name in enumerate(pictures.classes)},
    }


def _class_figures(members_N: Flags, fraction_N: Scores) -> dict[str, Any]:
    auc = area_under_roc(members_N, fraction_N)
    return {
        "num_pictures": int(members_N.sum()),
        "auc_of_lesion_size": None if math.isnan(auc) else auc,
        "lesion_size": _percentiles(fraction_N[members_N]),
    }


def _measure(pictures: FrameSet, margin: float, chosen_N: Indices) -> tuple[Scores, Scores]:
    """The lesion's share of the image, and the side of its crop as a share of the image's."""
    fractions, sides = [], []
    for indices in np.array_split(chosen_N, -(-len(chosen_N) // _BATCH)):
        mask_BFF = torch.from_numpy(np.asarray(pictures.masks[indices]) > 128).float()
        box_B4, fraction_B = smallest_rectangle(mask_BFF, threshold=0.5, opening=1, margin=margin)
        width_B, height_B = box_B4[:, 2] - box_B4[:, 0], box_B4[:, 3] - box_B4[:, 1]
        fractions.append(fraction_B.double().numpy())
        sides.append((width_B * height_B).double().sqrt().numpy())
    return np.concatenate(fractions), np.concatenate(sides)


def _percentiles(values_N: Scores) -> dict[str, float]:
    if len(values_N) == 0:
        return {}
    return {f"p{p}": float(v) for p, v in zip(PERCENTILES, np.percentile(values_N, PERCENTILES), strict=True)}
