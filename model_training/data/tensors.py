"""Prepared frames and masks as tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_training.arrays import Indices


def picture_tensor(frames: NDArray[np.uint8], indices: Indices, device: torch.device) -> Tensor:
    """The chosen frames ``[B, 3, F, F]``, float32 in 0..1."""
    return frame_tensor(torch.from_numpy(frames[indices]).to(device))


def frame_tensor(frames_BFF3: Tensor) -> Tensor:
    """uint8 frames ``[B, F, F, 3]``, the input of the exported graph, to float32 ``[B, 3, F, F]`` in 0..1."""
    return frames_BFF3.permute(0, 3, 1, 2).float() / 255.0


def mask_tensor(masks_BFF: Tensor) -> Tensor:
    """uint8 masks ``[B, F, F]`` to float32 ``[B, 1, F, F]``, 0 or 1."""
    return (masks_BFF.unsqueeze(1) > 128).float()
