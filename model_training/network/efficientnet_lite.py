"""EfficientNet-Lite0 (Google, 2020): inverted residual blocks without squeeze-and-excitation, with ReLU6.

Both make it cheap on CPUs and easy to quantise. Its published weights expect TensorFlow's padding, which is uneven
where the resolution is halved. The last convolution before the classifier, with 1280 channels, is left out: the modules
behind the features would be four times as wide.
"""

from __future__ import annotations

import re
from functools import partial

from torch import Tensor, nn

from model_training.network.stages import Stages, StateDict

_STEM_CHANNELS = 32

# Of the stem and of layer1 to layer4: number of blocks, kernel, stride of the first one, expansion, output channels.
LAYERS = (
    ((1, 3, 1, 1, 16),),
    ((2, 3, 2, 6, 24),),
    ((2, 5, 2, 6, 40),),
    ((3, 3, 2, 6, 80), (3, 5, 1, 6, 112)),
    ((4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
# The place of each published block.
_PLACES = [f"layer{n}.{i}" for n, parts in enumerate(LAYERS) for i in range(sum(part[0] for part in parts))]

_batch_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def _halving(kernel: int) -> nn.Module:
    """TensorFlow's padding of an even side before a convolution of stride 2."""
    before = (kernel - 2) // 2
    return nn.ZeroPad2d((before, kernel - 2 - before) * 2)


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project to few channels; add x where the shape is the same."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.has_shortcut = stride == 1 and inputs == outputs
        self.act = nn.ReLU6(inplace=True)
        self.expand_conv = nn.Conv2d(inputs, width, 1, bias=False) if expansion > 1 else None
        self.bn0 = _batch_norm(width) if expansion > 1 else None
        self.pad = _halving(kernel) if stride == 2 else nn.Identity()
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise_conv = nn.Conv2d(width, width, kernel, stride, padding, groups=width, bias=False)
        self.bn1 = _batch_norm(width)
        self.project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn2 = _batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W]`` to those of the next block."""
        learnt = x if self.expand_conv is None or self.bn0 is None else self.act(self.bn0(self.expand_conv(x)))
        learnt = self.act(self.bn1(self.depthwise_conv(self.pad(learnt))))
        learnt = self.bn2(self.project_conv(learnt))
        return learnt + x if self.has_shortcut else learnt


class EfficientNetLite0Stages(Stages):
    """The stem, which has the first block, and layer1 to layer4; sides must be multiples of 32."""

    mean, std = (127 / 255,) * 3, (128 / 255,) * 3

    def __init__(self, num_stages: int = 5, *, name: str, file: str) -> None:
        super().__init__(num_stages, name=name, file=file)
        self.pad = _halving(3)
        self.conv_stem = nn.Conv2d(3, _STEM_CHANNELS, 3, 2, bias=False)
        self.bn0 = _batch_norm(_STEM_CHANNELS)
        self.act = nn.ReLU6(inplace=True)
        inputs = _STEM_CHANNELS
        for n, parts in enumerate(LAYERS[:num_stages]):
            blocks: list[nn.Module] = []
            for num, kernel, stride, expansion, outputs in parts:
                for i in range(num):
                    blocks.append(
                        InvertedResidual(
                            inputs, outputs, kernel=kernel, stride=stride if i == 0 else 1, expansion=expansion
                        )
                    )
                    inputs = outputs
            self.add_module(f"layer{n}", nn.Sequential(*blocks))
        self.channels = tuple(parts[-1][-1] for parts in LAYERS[:num_stages])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def stem(self, x_B3HW: Tensor) -> Tensor:
        """The first convolution and block."""
        return self.get_submodule("layer0")(self.act(self.bn0(self.conv_stem(self.pad(x_B3HW)))))

    def renamed(self, weights: StateDict) -> StateDict:
        """Published names have underscores, and one number for all blocks."""
        return {_own_name(name): value for name, value in weights.items()}


def _own_name(published: str) -> str:
    name = re.sub(r"(^|\.)_", r"\1", published)
    if (found := re.match(r"blocks\.(\d+)\.(.*)", name)) is None:
        return name
    number = int(found[1])
    # A deeper network's further blocks, which are refused, follow the last.
    place = _PLACES[number] if number < len(_PLACES) else f"layer4.{number}"
    return f"{place}.{found[2]}"
