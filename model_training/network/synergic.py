"""Synergic learning (Zhang et al., MICCAI 2018): three linear layers decide whether two images have the same class.

SDL's counterpart of the distinguish module, for the comparison in the paper's tables. The CIN paper describes "three
single linear layers". Here there are ReLUs between them: without, the three are one linear layer, whose logit is a sum
of one term per image and cannot separate same-class from mixed pairs when the classes are equally frequent. Their width
is that of the branches' hidden layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Synergic(nn.Module):
    """Both images' pooled features, concatenated, through three linear layers."""

    def __init__(self, channels: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.compare = nn.Sequential(
            nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
        """The logit ``[B]`` of "same class" for each pair of feature maps."""
        pooled_B2C = torch.cat([first_BCHW.mean(dim=(2, 3)), second_BCHW.mean(dim=(2, 3))], dim=1)
        return self.compare(pooled_B2C).squeeze(1)
