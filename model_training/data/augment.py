"""Augmentation on tensors: one affine map per image, then arithmetic on its colours.

:func:`model_training.network.crop.crop` applies the map, so that cropping, turning and scaling need one interpolation.
Random numbers come from the given generator, on the CPU, so they do not depend on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Limits of the changes. Dermoscopy has no upright orientation: all turns and mirror images are equally likely."""

    # From 1/scale to scale, uniform in the logarithm.
    scale: float
    # As a share of the half side.
    shift: float
    # Brightness, contrast and saturation, each by up to this share.
    colour: float
    # Red, green and blue separately, as with another lamp or camera.
    tint: float


LIGHT = Augmentation(scale=1.2, shift=0.1, colour=0.15, tint=0.0)
STRONG = Augmentation(scale=1.35, shift=0.15, colour=0.25, tint=0.08)

# By their names in the configuration.
AUGMENTATIONS = {"light": LIGHT, "strong": STRONG}


def random_views(num: int, limits: Augmentation, generator: torch.Generator) -> Tensor:
    """Random turn, mirror, scale and shift, ``[num, 2, 3]`` float32.

    Each maps coordinates of the result, -1..1, to coordinates of the crop box, -1..1.
    """
    angle = torch.rand(num, generator=generator) * (2 * math.pi)
    mirror = torch.where(torch.rand(num, generator=generator) < 0.5, -1.0, 1.0)
    scale = torch.exp(_both_ways((num,), generator) * math.log(limits.scale))
    shift = _both_ways((num, 2), generator) * limits.shift
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack([cos * mirror, -sin, shift[:, 0]], dim=1),
        torch.stack([sin * mirror, cos, shift[:, 1]], dim=1),
    ]
    return torch.stack(rows, dim=1)


def random_colours(num: int, limits: Augmentation, generator: torch.Generator) -> Tensor:
    """Random relative changes of brightness, contrast, saturation, red, green and blue, ``[num, 6]``."""
    jitter = _both_ways((3, num), generator).T * limits.colour
    # Without tint nothing is drawn from the generator.
    tint = _both_ways((num, 3), generator) * limits.tint if limits.tint else torch.zeros(num, 3)
    return torch.cat([jitter, tint], dim=1)


def change_colours(picture_B3HW: Tensor, shares_B6: Tensor) -> Tensor:
    """Change the colours of images by the shares of :func:`random_colours`; values stay in 0..1."""
    shares = (1 + shares_B6.to(picture_B3HW.device))[:, :, None, None]
    brightness, contrast, saturation, tint = shares.split([1, 1, 1, 3], dim=1)
    mean = picture_B3HW.mean(dim=(1, 2, 3), keepdim=True)
    grey = picture_B3HW.mean(dim=1, keepdim=True)
    x = grey + (picture_B3HW - grey) * saturation
    x = mean + (x - mean) * contrast
    return (x * (brightness * tint)).clamp(0.0, 1.0)


def _both_ways(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * 2 - 1
