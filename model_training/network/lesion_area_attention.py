"""Lesion area attention module (paper, section 2 and Fig. 2): segments the lesion.

An encoder-decoder gives a score for each pixel; the auxiliary branch compares features of the image seen through
the predicted and through the true map, in training only. The crop itself is in :mod:`model_training.network.crop`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_training.network.backbones import make_stages
from model_training.network.crop import smallest_rectangle
from model_training.network.feature_extraction import normalise
from model_training.network.stages import StateDict

# The decoder's widths, from stride 8 up to stride 2.
DECODER_CHANNELS = (128, 64, 32)


class DecoderBlock(nn.Module):
    """Double the resolution, join the encoder's features of that resolution, and convolve twice."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels + skip_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``[B, in, h, w]`` and ``[B, skip, 2h, 2w]`` to ``[B, out, 2h, 2w]``."""
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.convolutions(torch.cat([x, skip], dim=1))


class LesionAreaAttention(nn.Module):
    """U-Net over the first three residual layers of ResNet18.

    It resizes its input to ``input_size`` pixels, a multiple of 16: the outline does not need full resolution, at which
    this module would dominate the cost of inference.
    """

    def __init__(self, *, input_size: int) -> None:
        super().__init__()
        if input_size % 16:
            raise ValueError(f"network.area_size must be a multiple of 16, got {input_size}")
        self.input_size = input_size
        self.encoder = make_stages(num_stages=4)
        *skips, deepest = self.encoder.channels
        skips.reverse()
        widths = (deepest, *DECODER_CHANNELS)
        self.decoder = nn.ModuleList(DecoderBlock(widths[i], skips[i], widths[i + 1]) for i in range(len(skips)))
        self.score = nn.Conv2d(DECODER_CHANNELS[-1], 1, 1)

    def load_pretrained(self, pretrained: StateDict) -> None:
        """Load the weights of an ImageNet ResNet18 into the encoder."""
        self.encoder.load_pretrained(pretrained)

    def resize(self, picture_B3HW: Tensor) -> Tensor:
        """The image resized to ``input_size``, with antialiasing."""
        size = (self.input_size, self.input_size)
        return F.interpolate(picture_B3HW, size, mode="bilinear", align_corners=False, antialias=True)

    def forward(self, picture_B3HW: Tensor) -> Tensor:
        """Whole images, values 0..1, to the logit of each pixel ``[B, input_size, input_size]``."""
        *skips, x = self.encoder(normalise(self.resize(picture_B3HW)))
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(x, skip)
        x = F.interpolate(self.score(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return x.squeeze(1)


class AuxiliaryBranch(nn.Module):
    """The auxiliary learning part (Fig. 2b): L1 between features seen through the two maps, after each conv block.

    The blocks are the frozen stem and layer1 of the pretrained ResNet18: blocks trained to minimise their own L1 loss
    would output zero. The images are multiplied by the maps, because a crop has no gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = make_stages(num_stages=2)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> AuxiliaryBranch:  # noqa: ARG002
        """Stay in evaluation mode: frozen features have frozen statistics."""
        return super().train(False)

    def forward(self, picture_B3HW: Tensor, attention_BHW: Tensor, truth_BHW: Tensor) -> Tensor:
        """The mean L1 distance, averaged over the two blocks; maps hold 0..1."""
        seen = self.blocks(normalise(picture_B3HW * attention_BHW.unsqueeze(1)))
        with torch.no_grad():
            target = self.blocks(normalise(picture_B3HW * truth_BHW.unsqueeze(1)))
        distances = [F.l1_loss(a.float(), b.float()) for a, b in zip(seen, target, strict=True)]
        return torch.stack(distances).mean()


class LesionArea(NamedTuple):
    """The lesion found in each image of a batch."""

    attention_BSS: Tensor  # 0..1
    box_B4: Tensor  # x0, y0, x1, y1 as fractions of the image
    fraction_B: Tensor  # the lesion's share of the image; 0: none found, the box is the whole image


def whole_images(num: int) -> LesionArea:
    """The areas of images in which no lesion is looked for."""
    box_B4 = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(num, 1)
    return LesionArea(torch.ones(num, 1, 1), box_B4, torch.zeros(num))


class LesionLocator(nn.Module):
    """Attention map and smallest rectangle: the zoom step of the paper, as used after the first stage.

    ``size`` is the side of the attention map in pixels, ``opening`` the width of the widest speck as a share of it.
    """

    def __init__(
        self, area: LesionAreaAttention, *, size: int, threshold: float, opening: float, margin: float
    ) -> None:
        super().__init__()
        self.area = area
        self.size, self.threshold, self.margin = size, threshold, margin
        self.opening = 2 * round(opening * size / 2) + 1

    def forward(self, picture_B3HW: Tensor) -> LesionArea:
        """Whole images ``[B, 3, H, W]``, values 0..1, to their lesion areas."""
        logits_B1HW = self.area(picture_B3HW).float().unsqueeze(1)
        resized = F.interpolate(logits_B1HW, (self.size, self.size), mode="bilinear", align_corners=False)
        attention_BSS = torch.sigmoid(resized.squeeze(1))
        box_B4, fraction_B = smallest_rectangle(
            attention_BSS, threshold=self.threshold, opening=self.opening, margin=self.margin
        )
        return LesionArea(attention_BSS, box_B4, fraction_B)
