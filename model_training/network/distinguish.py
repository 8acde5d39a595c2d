"""Distinguish module (paper, section 2, Fig. 4): are two pictures of the same class? Used in training only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Distinguish(nn.Module):
    """Concatenate, analyse (1x1, 3x3, 3x3 convolutions), distinguish (two fully connected layers)."""

    def __init__(self, channels: int, *, analyse_channels: int = 256, hidden: int = 128) -> None:
        super().__init__()
        self.analyse = nn.Sequential(
            nn.Conv2d(2 * channels, analyse_channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(analyse_channels, analyse_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(analyse_channels, analyse_channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.distinguish = nn.Sequential(
            nn.Linear(analyse_channels, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(hidden, 1)
        )

    def forward(self, first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
        """The logit ``[B]`` of "both are of the same class" for each pair of feature maps."""
        analysed_BCHW = self.analyse(torch.cat([first_BCHW, second_BCHW], dim=1))
        return self.distinguish(analysed_BCHW.mean(dim=(2, 3))).squeeze(1)
