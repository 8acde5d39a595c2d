"""Attention residual learning (Zhang et al., TMI 2019): residual blocks whose own features are the attention map.

A block's own residual features, normalised over the positions, become the attention map for its input; the only new
parameter is the map's weight. For the comparison in the paper's tables.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets.resnet import ResNetBlock
from torch import Tensor, nn


class AttentionResidualBlock(ResNetBlock):
    """y = ReLU(F(x) + x + alpha R(F(x)) . x), with MONAI's two-convolution block as F.

    R is the softmax over the H x W positions of each channel. Its values sum to one, so that R . x is x / (H W) on
    average; the product is multiplied by H x W, as in the lesion feature attention. The paper has no such gain; without
    it ``alpha`` would have to be H x W times as large, which small steps from zero would not reach. ``alpha`` starts at
    zero, where the block is the residual block that was pretrained on ImageNet; R is never zero, so ``alpha`` learns
    from the first step on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W]`` to those of the next block."""
        learnt = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        identity = x if self.downsample is None else self.downsample(x)
        num_positions = learnt.shape[2] * learnt.shape[3]
        # float32 also under autocast: a softmax over thousands of positions underflows half precision.
        attention = learnt.float().flatten(2).softmax(dim=2).view_as(learnt) * num_positions
        attended = self.alpha * attention * identity
        return self.act(learnt + identity + attended.to(learnt.dtype))
