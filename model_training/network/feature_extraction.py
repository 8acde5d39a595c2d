"""Feature extraction module (paper, section 2): an ImageNet network, the paper's ResNet18, without its classifier."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from model_training.network.backbones import DEFAULT_BACKBONE, make_stages
from model_training.network.stages import IMAGENET_MEAN, IMAGENET_STD


class FeatureExtraction(nn.Module):
    """A backbone to layer4: normalised crops ``[B, 3, H, W]`` to the features of layer1 to layer4.

    The last are ``[B, num_channels, H/32, W/32]``. The layers before it, with ``num_early_channels`` together, describe
    texture and colour, which layer4 discards.
    """

    def __init__(self, network: str = DEFAULT_BACKBONE) -> None:
        super().__init__()
        self.stages = make_stages(network)
        *early, last = self.stages.channels[1:]
        self.num_channels, self.num_early_channels = last, sum(early)
        self.frozen: list[nn.Module] = []

    def freeze(self, num_blocks: int | None = None) -> None:
        """Freeze weights and statistics of the stem and the first ``num_blocks`` residual blocks; None: all, 0: none.

        Raises ``ValueError`` when the network has fewer.
        """
        stages, blocks = self.stages, self.stages.blocks()
        if num_blocks is not None and num_blocks > len(blocks):
            raise ValueError(f"{stages.name} has {len(blocks)} residual blocks, fewer than {num_blocks} to freeze")
        self.frozen = [] if num_blocks == 0 else [*stages.stem_parts(), *blocks[:num_blocks]]
        for module in self.frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for frozen layers."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def normalise(self, picture_B3HW: Tensor) -> Tensor:
        """Normalise sRGB values 0..1 as the backbone's ImageNet weights expect."""
        return normalise(picture_B3HW, self.stages.mean, self.stages.std)

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """The features of layer1 to layer4."""
        features: list[Tensor] = self.stages(x_B3HW)
        return features[1:]


def normalise(
    picture_B3HW: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """Normalise sRGB values 0..1 by mean and deviation, by default those of ImageNet."""
    mean_C, std_C = (
        torch.tensor(values, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
        for values in (mean, std)
    )
    return (picture_B3HW - mean_C) / std_C
