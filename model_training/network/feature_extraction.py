"""Feature extraction module (paper, section 2): an ImageNet ResNet, the paper's ResNet18, without its classifier."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, Self

import torch
from torch import Tensor, nn

from model_training.network.attention_residual import AttentionResidualBlock
from model_training.network.resnet import WIDTHS, Block, Bottleneck, ResidualBlock, ResNet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Channels of ResNet18 after the stem and each of the four residual layers; their strides are 2, 4, 8, 16 and 32.
STAGE_CHANNELS = (WIDTHS[0], *WIDTHS)

StateDict = Mapping[str, Tensor]

FeatureNetwork = Literal["resnet18", "resnet50", "attention-resnet18"]

# torchvision's IMAGENET1K_V1 files by depth; the digits are the beginning of each file's SHA-256.
IMAGENET_FILES = {18: "resnet18-f37072fd.pth", 50: "resnet50-0676ba61.pth"}

# The residual block, and how many of them each of the four layers has.
_BLOCKS: Mapping[str, tuple[Block, list[int]]] = {
    "resnet18": (ResidualBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "attention-resnet18": (AttentionResidualBlock, [2, 2, 2, 2]),
}


def depth_of(network: FeatureNetwork) -> int:
    """The ResNet's depth, which identifies its ImageNet file."""
    return 50 if network == "resnet50" else 18


class ResNetStages(nn.Module):
    """The first ``num_stages`` stages of a ResNet: stem, layer1, ..., layer4, with torchvision's parameter names."""

    def __init__(self, num_stages: int = 5, *, network: FeatureNetwork = "resnet18") -> None:
        super().__init__()
        self.network: FeatureNetwork = network
        resnet = ResNet(*_BLOCKS[network])
        self.conv1, self.bn1, self.act, self.maxpool = resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool
        self.layer_names = [f"layer{i}" for i in range(1, num_stages)]
        for name in self.layer_names:
            self.add_module(name, getattr(resnet, name))

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """Features of every stage, finest first; sides H/2, H/4, ... of the normalised image's."""
        x = self.act(self.bn1(self.conv1(x_B3HW)))
        features = [x]
        for name in self.layer_names:
            if name == "layer1":
                x = self.maxpool(x)
            x = self.get_submodule(name)(x)
            features.append(x)
        return features

    def load_pretrained(self, pretrained: StateDict) -> None:
        """Load the weights of an ImageNet ResNet of the same depth, under torchvision's names.

        A residual block that ``pretrained`` lacks starts as the identity (its last BatchNorm at zero); attention
        residual blocks keep their ``alpha`` where ``pretrained`` has none. Raises ``ValueError`` when anything else is
        missing, has another shape, or would not be used, as with a deeper network.
        """
        own = self.state_dict()
        blocks = _residual_blocks(own)
        theirs = {block for block in _residual_blocks(pretrained) if block.split(".")[0] in self.layer_names}
        absent = blocks - theirs
        # BatchNorm's batch count is unused here, and not every file has it.
        optional = (".alpha", ".num_batches_tracked")
        needed = [key for key in own if not key.endswith(optional) and not _residual_blocks([key]) & absent]
        taken = {key: pretrained[key].to(own[key].dtype) for key in own if key in pretrained}
        wrong = {
            "missing": [key for key in needed if key not in pretrained],
            "other shape": [key for key, value in taken.items() if value.shape != own[key].shape],
            "left out": sorted(theirs - blocks),
        }
        if any(wrong.values()) or absent == blocks:
            raise ValueError(
                f"not a start for {self.network}: "
                + ", ".join(f"{what} {names[:5]}" for what, names in wrong.items())
                + "; start must be an ImageNet ResNet of the same depth with torchvision's names, such as "
                + IMAGENET_FILES[depth_of(self.network)]
            )
        self.load_state_dict({**own, **taken})
        for block in absent:
            last = [module for module in self.get_submodule(block).children() if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.get_parameter("weight"))
            nn.init.zeros_(last.get_parameter("bias"))


def _residual_blocks(keys: Iterable[str]) -> set[str]:
    """The residual blocks, such as ``layer1.0``, that the parameters belong to."""
    return {found[0] for key in keys if (found := re.match(r"layer\d+\.\d+(?=\.)", key))}


class FeatureExtraction(nn.Module):
    """A ResNet to layer4: normalised crops ``[B, 3, H, W]`` to the features of layer1 to layer4.

    The last are ``[B, num_channels, H/32, W/32]``. The layers before it, with ``num_early_channels`` together, describe
    texture and colour, which layer4 discards.
    """

    def __init__(self, network: FeatureNetwork = "resnet18") -> None:
        super().__init__()
        self.stages = ResNetStages(network=network)
        expansion = 4 if network == "resnet50" else 1
        *early, last = (channels * expansion for channels in STAGE_CHANNELS[1:])
        self.num_channels, self.num_early_channels = last, sum(early)
        self.frozen: list[nn.Module] = []

    def freeze(self, num_blocks: int | None = None) -> None:
        """Freeze weights and statistics of the stem and the first ``num_blocks`` residual blocks; None: all, 0: none.

        Raises ``ValueError`` when the network has fewer.
        """
        stages = self.stages
        blocks = [block for name in stages.layer_names for block in stages.get_submodule(name).children()]
        if num_blocks is not None and num_blocks > len(blocks):
            raise ValueError(f"{stages.network} has {len(blocks)} residual blocks, fewer than {num_blocks} to freeze")
        self.frozen = [] if num_blocks == 0 else [stages.conv1, stages.bn1, *blocks[:num_blocks]]
        for module in self.frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for frozen layers."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """The features of layer1 to layer4."""
        features: list[Tensor] = self.stages(x_B3HW)
        return features[1:]


def normalise(picture_B3HW: Tensor) -> Tensor:
    """Normalise sRGB values 0..1 by the mean and deviation of ImageNet."""
    mean = torch.tensor(IMAGENET_MEAN, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
    return (picture_B3HW - mean) / std
