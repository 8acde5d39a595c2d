"""Attention residual learning (Zhang et al., TMI 2019): residual blocks whose own features are the attention map.

A block's own residual features, normalised over the positions, become the attention map for its input; the only new
parameter is the map's weight. For the comparison in the paper's tables.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_training.network.resnet import ResidualBlock


class AttentionResidualBlock(ResidualBlock):
    """y = ReLU(F(x) + x + alpha R(F(x)) . x).

    R is the softmax over the H x W positions of each channel. Its values sum to one, so that R . x is x / (H W) on
    average; the product is multiplied by H x W, as in the lesion feature attention. The paper has no such gain; without
    it ``alpha`` would have to be H x W times as large, which small steps from zero do not reach. ``alpha`` starts at
    zero, where the block equals the pretrained residual block; R is never zero, so ``alpha`` learns from the first
    step.
    """

    def __init__(self, inputs: int, width: int, *, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__(inputs, width, stride=stride, downsample=downsample)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W]`` to those of the next block."""
        learnt, identity = self.residual(x), self.shortcut(x)
        num_positions = learnt.shape[2] * learnt.shape[3]
        # float32 also under autocast: a softmax over thousands of positions underflows half precision.
        attention = learnt.float().flatten(2).softmax(dim=2).view_as(learnt) * num_positions
        attended = self.alpha * attention * identity
        return self.act(learnt + identity + attended.to(learnt.dtype))
