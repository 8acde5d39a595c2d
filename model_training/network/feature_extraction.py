"""Feature extraction module (paper, section 2): an ImageNet ResNet, the paper's ResNet18, without its classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from torch import Tensor, nn

from model_training.network.attention_residual import AttentionResidualBlock

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Channels of ResNet18 after the stem and each of the four residual layers; their strides are 2, 4, 8, 16 and 32.
STAGE_CHANNELS = (64, 64, 128, 256, 512)

StateDict = Mapping[str, Tensor]

FeatureNetwork = Literal["resnet18", "resnet50", "attention-resnet18"]

# The residual block, and how many of them each of the four layers has.
_BLOCKS: Mapping[str, tuple[type[ResNetBlock] | type[ResNetBottleneck], list[int]]] = {
    "resnet18": (ResNetBlock, [2, 2, 2, 2]),
    "resnet50": (ResNetBottleneck, [3, 4, 6, 3]),
    "attention-resnet18": (AttentionResidualBlock, [2, 2, 2, 2]),
}


class ResNetStages(nn.Module):
    """The first ``num_stages`` stages of a ResNet: stem, layer1, ..., layer4, with torchvision's parameter names."""

    def __init__(self, num_stages: int = 5, *, network: FeatureNetwork = "resnet18") -> None:
        super().__init__()
        block, layers = _BLOCKS[network]
        # MONAI's defaults differ from torchvision's network in the stem's stride and in the downsample's bias.
        resnet = ResNet(
            block,
            layers,
            list(STAGE_CHANNELS[1:]),
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_stride=2,
            bias_downsample=False,
        )
        self.conv1, self.bn1, self.act, self.maxpool = resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool
        self.layer_names = [f"layer{i}" for i in range(1, num_stages)]
        for name in self.layer_names:
            self.add_module(name, getattr(resnet, name))

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """Features of every stage, finest first; sides H/2, H/4, ... of the normalised picture's."""
        x = self.act(self.bn1(self.conv1(x_B3HW)))
        features = [x]
        for name in self.layer_names:
            if name == "layer1":
                x = self.maxpool(x)
            x = self.get_submodule(name)(x)
            features.append(x)
        return features

    def load_start(self, start: StateDict) -> None:
        """Take the weights of an ImageNet ResNet of the same depth with torchvision's names.

        Attention residual blocks keep the weight of their attention. A residual block that ``start`` lacks begins as
        the identity (its last BatchNorm at zero), so that the features before it pass unchanged. Raises ``ValueError``
        when anything else is missing or has another shape.
        """
        own = self.state_dict()
        wanted = [key for key in own if not key.endswith(".alpha")]
        blocks = {".".join(key.split(".")[:2]) for key in wanted if key.startswith("layer")}
        absent = {block for block in blocks if not any(key.startswith(f"{block}.") for key in start)}
        taken = {key: start[key].to(own[key].dtype) for key in wanted if key in start}
        missing = [key for key in wanted if key not in start and ".".join(key.split(".")[:2]) not in absent]
        misshapen = [key for key, value in taken.items() if value.shape != own[key].shape]
        if missing or misshapen or absent == blocks:
            raise ValueError(
                f"not a start for this network: missing {missing[:5]}, other shape {misshapen[:5]}; "
                "start must be an ImageNet ResNet of the same depth with torchvision's names"
            )
        self.load_state_dict({**own, **taken})
        for block in absent:
            last = [module for module in self.get_submodule(block).children() if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.get_parameter("weight"))
            nn.init.zeros_(last.get_parameter("bias"))


class FeatureExtraction(nn.Module):
    """A ResNet to layer4: normalised crops ``[B, 3, H, W]`` to features ``[B, num_channels, H/32, W/32]``."""

    def __init__(self, network: FeatureNetwork = "resnet18") -> None:
        super().__init__()
        self.stages = ResNetStages(network=network)
        self.num_channels = 2048 if network == "resnet50" else STAGE_CHANNELS[-1]

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Features of the last stage."""
        return self.stages(x_B3HW)[-1]


def normalise(picture_B3HW: Tensor) -> Tensor:
    """Values 0..1 in sRGB to the mean and deviation that the ImageNet start was trained with."""
    mean = torch.tensor(IMAGENET_MEAN, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
    return (picture_B3HW - mean) / std
