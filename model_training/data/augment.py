"""Augmentation on tensors: geometry as one affine map for each picture, colour as arithmetic on the result.

The geometry is handed to :func:`model_training.network.crop.crop`, so that cropping, turning and scaling a picture cost
one interpolation. Draws come from the generator given, on the CPU, so that they do not depend on the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Dermoscopy has no upright: every turn is as likely as any other.
MAX_SCALE = 1.2
MAX_SHIFT = 0.1
BRIGHTNESS = 0.15
CONTRAST = 0.15
SATURATION = 0.15


def random_views(num: int, generator: torch.Generator) -> Tensor:
    """Random turn, mirror, scale (1/1.2 to 1.2) and shift (a tenth of the half side), ``[num, 2, 3]`` float32.

    Each maps coordinates of the result, -1..1, to coordinates of the crop box, -1..1.
    """
    angle = torch.rand(num, generator=generator) * (2 * math.pi)
    mirror = torch.where(torch.rand(num, generator=generator) < 0.5, -1.0, 1.0)
    scale = torch.exp((torch.rand(num, generator=generator) * 2 - 1) * math.log(MAX_SCALE))
    shift = (torch.rand(num, 2, generator=generator) * 2 - 1) * MAX_SHIFT
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack([cos * mirror, -sin, shift[:, 0]], dim=1),
        torch.stack([sin * mirror, cos, shift[:, 1]], dim=1),
    ]
    return torch.stack(rows, dim=1)


def random_jitter(num: int, generator: torch.Generator) -> Tensor:
    """How much brightness, contrast and saturation change for each picture, ``[3, num, 1, 1, 1]`` in -1..1."""
    return torch.rand(3, num, 1, 1, 1, generator=generator) * 2 - 1


def jitter_colours(picture_B3HW: Tensor, amounts_3B111: Tensor) -> Tensor:
    """Change brightness, contrast and saturation by :func:`random_jitter`; values stay in 0..1."""
    brightness, contrast, saturation = amounts_3B111.to(picture_B3HW.device)
    mean = picture_B3HW.mean(dim=(1, 2, 3), keepdim=True)
    grey = picture_B3HW.mean(dim=1, keepdim=True)
    x = grey + (picture_B3HW - grey) * (1 + SATURATION * saturation)
    x = mean + (x - mean) * (1 + CONTRAST * contrast)
    return (x * (1 + BRIGHTNESS * brightness)).clamp(0.0, 1.0)
