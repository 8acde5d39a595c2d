"""Residual networks (He et al., 2016), with torchvision's parameter names, so that its ImageNet files load by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from model_training.network.stages import Stages

# Output channels of the residual layers, before the expansion.
WIDTHS = (64, 128, 256, 512)
_NUM_CLASSES = 400


class ResidualBlock(nn.Module):
    """y = ReLU(F(x) + x), F of two 3x3 convolutions; ``downsample`` fits x to F where the shape changes."""

    expansion, has_shortcut = 1, True

    def __init__(self, inputs: int, width: int, *, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W]`` to those of the next block."""
        return self.act(self.residual(x) + self.shortcut(x))

    def residual(self, x: Tensor) -> Tensor:
        """F(x)."""
        return self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))

    def shortcut(self, x: Tensor) -> Tensor:
        """x in the shape of F(x)."""
        return x if self.downsample is None else self.downsample(x)


class Bottleneck(nn.Module):
    """The same with F of a 1x1, a 3x3 and a 1x1 convolution, which has four times as many channels."""

    expansion, has_shortcut = 4, True

    def __init__(self, inputs: int, width: int, *, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W]`` to those of the next block."""
        learnt = self.act(self.bn1(self.conv1(x)))
        learnt = self.bn3(self.conv3(self.act(self.bn2(self.conv2(learnt)))))
        return self.act(learnt + (x if self.downsample is None else self.downsample(x)))


Block = type[ResidualBlock] | type[Bottleneck]


class ResNet(nn.Module):
    """Stem (``conv1``, ``bn1``, ``act``, ``maxpool``) and ``layer1`` to ``layer4`` of ``num_blocks`` each."""

    def __init__(self, block: Block, num_blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.act = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = WIDTHS[0]
        for i, (width, num) in enumerate(zip(WIDTHS, num_blocks, strict=True)):
            outputs, stride = width * block.expansion, 1 if i == 0 else 2
            downsample = None
            if stride != 1 or inputs != outputs:
                downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            blocks = [block(inputs, width, stride=stride, downsample=downsample)]
            blocks += [block(outputs, width) for _ in range(1, num)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            inputs = outputs
        # Draws the random numbers of a classifier, so that seeds give the same weights as in existing results.
        nn.Linear(inputs, _NUM_CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNetStages(Stages):
    """Stem and layers of a ResNet with torchvision's parameter names."""

    def __init__(self, block: Block, num_blocks: Sequence[int], *, num_stages: int, name: str, file: str) -> None:
        super().__init__(num_stages, name=name, file=file)
        resnet = ResNet(block, num_blocks)
        self.conv1, self.bn1, self.act, self.maxpool = resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool
        for layer in self.layer_names:
            self.add_module(layer, getattr(resnet, layer))
        self.channels = (WIDTHS[0], *(width * block.expansion for width in WIDTHS))[:num_stages]

    def stem(self, x_B3HW: Tensor) -> Tensor:
        """The first convolution."""
        return self.act(self.bn1(self.conv1(x_B3HW)))
