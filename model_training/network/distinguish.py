"""Distinguish module (paper, section 2, Fig. 4): are two images of the same class? Used in training only.

Its loss, Eqn 5, is in :mod:`model_training.network.losses`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

DistinguishNorm = Literal["none", "input", "all"]
Initialisation = Literal["default", "he"]


class Distinguish(nn.Module):
    """Concatenate, analyse (1x1, 3x3, 3x3 convolutions), distinguish (two fully connected layers).

    ``norm`` adds batch normalisation of the input (``input``), or also after every convolution (``all``).
    ``initialisation="he"`` keeps the variance through the ReLUs. With neither, plain SGD does not learn: the output
    hardly depends on the pair.
    """

    def __init__(
        self,
        channels: int,
        *,
        norm: DistinguishNorm = "none",
        initialisation: Initialisation = "default",
        analyse_channels: int = 256,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [] if norm == "none" else [nn.BatchNorm2d(2 * channels)]
        for width, kernel in ((2 * channels, 1), (analyse_channels, 3), (analyse_channels, 3)):
            layers.append(nn.Conv2d(width, analyse_channels, kernel, padding=kernel // 2))
            if norm == "all":
                layers.append(nn.BatchNorm2d(analyse_channels))
            layers.append(nn.ReLU(inplace=True))
        self.analyse = nn.Sequential(*layers)
        self.distinguish = nn.Sequential(
            nn.Linear(analyse_channels, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(hidden, 1)
        )
        if initialisation == "he":
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    assert layer.bias is not None
                    nn.init.zeros_(layer.bias)

    def forward(self, first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
        """The logit ``[B]`` of "same class" for each pair of feature maps."""
        analysed_BCHW = self.analyse(torch.cat([first_BCHW, second_BCHW], dim=1))
        return self.distinguish(analysed_BCHW.mean(dim=(2, 3))).squeeze(1)
