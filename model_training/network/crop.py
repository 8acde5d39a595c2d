"""The crop box (the smallest rectangle around the lesion) and the crop (paper, section 2), in training and serving.

Tensor operations on batches, without loops or shapes that depend on the data: so they are exported as part of the ONNX
graph (:mod:`model_training.release.deployed`), which the service runs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def open_mask(mask_BHW: Tensor, kernel_size: int) -> Tensor:
    """Morphological opening of a 0/1 mask: removes areas narrower than ``kernel_size`` (odd, in pixels).

    The mask is not eroded at the border, beyond which the lesion may continue.
    """
    pad = kernel_size // 2
    mask_B1HW = mask_BHW.unsqueeze(1)
    eroded = -F.max_pool2d(-mask_B1HW, kernel_size, stride=1, padding=pad)
    return F.max_pool2d(eroded, kernel_size, stride=1, padding=pad).squeeze(1)


def smallest_rectangle(
    attention_BHW: Tensor, *, threshold: float, opening: int, margin: float
) -> tuple[Tensor, Tensor]:
    """The smallest rectangle that includes the lesion area.

    ``attention_BHW`` holds 0..1. Pixels above ``threshold`` that survive the opening are the lesion; ``margin`` is
    added on each side, as a share of the rectangle's side. Returns boxes ``[B, 4]`` (x0, y0, x1, y1 as fractions of the
    image) and the lesion's share of the image ``[B]``. Without a lesion the box is the whole image, the share 0.
    """
    lesion_BHW = open_mask((attention_BHW > threshold).to(attention_BHW.dtype), opening)
    x0, x1 = _extent(lesion_BHW.amax(dim=1))
    y0, y1 = _extent(lesion_BHW.amax(dim=2))
    margin_x, margin_y = margin * (x1 - x0), margin * (y1 - y0)
    box_B4 = torch.stack([x0 - margin_x, y0 - margin_y, x1 + margin_x, y1 + margin_y], dim=1).clamp(0.0, 1.0)
    fraction_B = lesion_BHW.mean(dim=(1, 2))
    whole_4 = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=box_B4.dtype, device=box_B4.device)
    return torch.where(fraction_B.unsqueeze(1) > 0, box_B4, whole_4), fraction_B


def _extent(occupied_BN: Tensor) -> tuple[Tensor, Tensor]:
    """First and last edge, as fractions of N, of the positions that hold 1."""
    num = occupied_BN.shape[1]
    index_N = torch.arange(num, device=occupied_BN.device, dtype=occupied_BN.dtype)
    first = torch.where(occupied_BN > 0, index_N, float(num)).amin(dim=1)
    last = torch.where(occupied_BN > 0, index_N + 1, 0.0).amax(dim=1)
    return first / num, last / num


def crop_pairs(relations_BMM: Tensor, box_B4: Tensor) -> Tensor:
    """Resample matrices over the positions of whole images, ``[B, M, M]``, to the positions of crops, on both axes."""
    num = relations_BMM.shape[1]
    side = math.isqrt(num)
    for _ in range(2):  # the columns, then the rows
        maps_BMhw = crop(relations_BMM.unflatten(2, (side, side)), box_B4, side)
        relations_BMM = maps_BMhw.flatten(2).transpose(1, 2)
    return relations_BMM


def sampling_grid(
    box_B4: Tensor, size: int, view_B23: Tensor | None = None, *, samples: int = 1, spread_B2: Tensor | None = None
) -> Tensor:
    """Where each pixel of a crop lies in the image, ``[B, size * samples, size * samples, 2]`` in -1..1.

    ``view_B23`` maps crop coordinates in -1..1 before the box is applied (rotation, flip, shift of an augmentation), so
    that crop and augmentation need one interpolation. Each pixel takes ``samples`` x ``samples`` points, spread over
    the share ``spread_B2`` of its width and height.
    """
    centres_S = (torch.arange(size, device=box_B4.device, dtype=box_B4.dtype) + 0.5) * (2.0 / size) - 1.0
    if spread_B2 is None:
        x_B1S, y_BS1 = centres_S.view(1, 1, -1), centres_S.view(1, -1, 1)
    else:
        places = torch.arange(samples, device=box_B4.device, dtype=box_B4.dtype)
        offsets_K = ((places + 0.5) / samples - 0.5) * (2.0 / size)
        steps_2BN = (centres_S[:, None] + spread_B2.T[:, :, None, None] * offsets_K).flatten(2)
        x_B1S, y_BS1 = steps_2BN[0].unsqueeze(1), steps_2BN[1].unsqueeze(2)
    u, v = x_B1S, y_BS1
    if view_B23 is not None:
        a = view_B23[:, :, :, None, None]
        u = a[:, 0, 0] * x_B1S + a[:, 0, 1] * y_BS1 + a[:, 0, 2]
        v = a[:, 1, 0] * x_B1S + a[:, 1, 1] * y_BS1 + a[:, 1, 2]
    x0, y0, x1, y1 = (edge.view(-1, 1, 1) for edge in box_B4.unbind(dim=1))
    x = (x0 + x1 - 1.0) + (x1 - x0) * u
    y = (y0 + y1 - 1.0) + (y1 - y0) * v
    return torch.stack(torch.broadcast_tensors(x, y), dim=-1)


def crop(picture_BCHW: Tensor, box_B4: Tensor, size: int, view_B23: Tensor | None = None) -> Tensor:
    """Cut ``box_B4`` out of float images and resize it to ``[B, C, size, size]``, bilinear and antialiased.

    Where the image has more pixels than the crop, each pixel of the crop is the mean of several samples over the area
    that it covers; without reduction the samples coincide. With a view the image is mirrored beyond the border, because
    repeated border pixels would be streaks.
    """
    height, width = picture_BCHW.shape[2:]
    padding = "border" if view_B23 is None else "reflection"
    samples, spread_B2 = max(1, round(width / size)), None
    if samples > 1:
        sides_B2 = (box_B4[:, 2:] - box_B4[:, :2]) * box_B4.new_tensor([width / size, height / size])
        # A bilinear sample already covers one pixel of the image.
        spread_B2 = 1 - 1 / sides_B2.clamp_min(1.0)
    grid = sampling_grid(box_B4, size, view_B23, samples=samples, spread_B2=spread_B2)
    sampled = F.grid_sample(picture_BCHW, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return F.avg_pool2d(sampled, samples) if samples > 1 else sampled
