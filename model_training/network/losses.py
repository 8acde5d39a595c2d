"""The losses of the paper: Eqn 4 (classification), Eqn 5 (distinguish), Eqn 6 (their sum) and the area module's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_weights(labels_N: Tensor, num_classes: int) -> Tensor:
    """w_j of Eqn 4: inverse class frequency, mean 1 over the classes, ``[K]`` float32.

    Raises ``ValueError`` when a class has no image, because its weight would be infinite.
    """
    counts = torch.bincount(labels_N, minlength=num_classes).float()
    if bool((counts == 0).any()):
        empty = torch.nonzero(counts == 0).flatten().tolist()
        raise ValueError(f"no training image of class {empty}: set recognition.class_weights = 'none' or add some")
    weights = 1.0 / counts
    return weights / weights.mean()


def classification_loss(logits_NK: Tensor, labels_N: Tensor, weights_K: Tensor) -> Tensor:
    """Eqn 4: weighted cross-entropy divided by the number of images (not by the sum of their weights)."""
    log_probabilities = F.log_softmax(logits_NK.float(), dim=1)
    chosen_N = log_probabilities.gather(1, labels_N.unsqueeze(1)).squeeze(1)
    return -(weights_K[labels_N] * chosen_N).mean()


def distinguish_loss(same_N: Tensor, first_labels_N: Tensor, second_labels_N: Tensor) -> Tensor:
    """Eqn 5: binary cross-entropy of "same class", from logits."""
    target_N = (first_labels_N == second_labels_N).float()
    return F.binary_cross_entropy_with_logits(same_N.float(), target_N)


def total_loss(classification: Tensor, distinguish: Tensor, distinguish_weight: float) -> Tensor:
    """Eqn 6: L = Lc + lambda Ld."""
    return classification + distinguish_weight * distinguish


def area_loss(logits_BHW: Tensor, truth_BHW: Tensor) -> Tensor:
    """Lce of Fig. 2b: pixel-wise cross-entropy between the attention map's logits and a mask of 0..1."""
    return F.binary_cross_entropy_with_logits(logits_BHW.float(), truth_BHW)
