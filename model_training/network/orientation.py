"""A canonical orientation of images, so that the answer does not depend on how the camera was held.

Images are mirrored and transposed so that their centre of brightness, under a Gaussian window, lies to the lower right,
and further down than to the right. That is exact for quarter turns and mirror images of a square, and needs no second
pass of the network. Because of the window, a vignette, a rim or a ruler hardly moves the centre.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Standard deviation of the window, in half sides.
WINDOW = 0.35


class Orientation(NamedTuple):
    """How to bring images to the canonical orientation: flips, then transposition; bool ``[B]`` each."""

    mirror_x_B: Tensor
    mirror_y_B: Tensor
    transpose_B: Tensor


def canonical_orientation(image_B3FF: Tensor) -> Orientation:
    """The flips and transposition that orient square images ``[B, 3, F, F]`` for the network."""
    side = image_B3FF.shape[-1]
    place_F = (torch.arange(side, device=image_B3FF.device, dtype=image_B3FF.dtype) + 0.5) / side * 2 - 1
    weight_F = torch.exp(-0.5 * (place_F / WINDOW) ** 2)
    weight_F = weight_F / weight_F.sum()
    grey_BFF = image_B3FF.mean(dim=1)
    # Weights that sum to zero: the centre of a uniform image is its middle.
    x_B = (grey_BFF * (weight_F * place_F)[None, None, :] * weight_F[None, :, None]).sum(dim=(1, 2))
    y_B = (grey_BFF * (weight_F * place_F)[None, :, None] * weight_F[None, None, :]).sum(dim=(1, 2))
    return Orientation(x_B < 0, y_B < 0, x_B.abs() > y_B.abs())


def orient(image_BCHW: Tensor, how: Orientation) -> Tensor:
    """Bring square images or maps to the orientation."""
    return _transposed(_mirrored(image_BCHW, how), how)


def restore(image_BCHW: Tensor, how: Orientation) -> Tensor:
    """Undo :func:`orient`."""
    return _mirrored(_transposed(image_BCHW, how), how)


def restore_pairs(correlation_BNMM: Tensor, how: Orientation) -> Tensor:
    """Undo :func:`orient` in values for pairs of positions of a square map, ``[B, N, M, M]``."""
    num, positions = correlation_BNMM.shape[1:3]
    side = math.isqrt(positions)
    for _ in range(2):
        # The second position first, then the first one.
        columns = correlation_BNMM.reshape(-1, num * positions, side, side)
        correlation_BNMM = restore(columns, how).reshape(-1, num, positions, positions).transpose(2, 3)
    return correlation_BNMM


def restore_boxes(box_B4: Tensor, how: Orientation) -> Tensor:
    """Undo :func:`orient` for boxes (x0, y0, x1, y1 as fractions)."""
    box_B4 = torch.where(how.transpose_B[:, None], box_B4[:, [1, 0, 3, 2]], box_B4)
    x0, y0, x1, y1 = box_B4.unbind(dim=1)
    x0, x1 = torch.where(how.mirror_x_B, 1 - x1, x0), torch.where(how.mirror_x_B, 1 - x0, x1)
    y0, y1 = torch.where(how.mirror_y_B, 1 - y1, y0), torch.where(how.mirror_y_B, 1 - y0, y1)
    return torch.stack([x0, y0, x1, y1], dim=1)


def _mirrored(image_BCHW: Tensor, how: Orientation) -> Tensor:
    image_BCHW = torch.where(how.mirror_x_B[:, None, None, None], image_BCHW.flip(3), image_BCHW)
    return torch.where(how.mirror_y_B[:, None, None, None], image_BCHW.flip(2), image_BCHW)


def _transposed(image_BCHW: Tensor, how: Orientation) -> Tensor:
    return torch.where(how.transpose_B[:, None, None, None], image_BCHW.transpose(2, 3), image_BCHW)
