"""Feature extraction module (paper, section 2): an ImageNet ResNet18 without its classifier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.nets.resnet import resnet18
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Channels after the stem and each of the four residual layers; their strides are 2, 4, 8, 16 and 32.
STAGE_CHANNELS = (64, 64, 128, 256, 512)

StateDict = Mapping[str, Tensor]


class ResNetStages(nn.Module):
    """The first ``num_stages`` stages of ResNet18: stem, layer1, ..., layer4, with torchvision's parameter names."""

    def __init__(self, num_stages: int = 5) -> None:
        super().__init__()
        # MONAI's defaults differ from torchvision's network in the stem's stride and in the downsample's bias.
        resnet = resnet18(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, bias_downsample=False)
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
        """Take the weights of an ImageNet ResNet18 with torchvision's names.

        A residual block that ``start`` lacks begins as the identity (its last BatchNorm at zero), so that the features
        before it pass unchanged. Raises ``ValueError`` when anything else is missing or has another shape.
        """
        own = self.state_dict()
        blocks = {f"layer{i}.{j}" for i in range(1, 5) for j in (0, 1)}
        absent = {key.rsplit(".", 2)[0] for key in own if key.startswith("layer")} & blocks
        absent = {block for block in absent if not any(key.startswith(block + ".") for key in start)}
        taken = {key: start[key].to(own[key].dtype) for key in own if key in start}
        missing = [key for key in own if key not in start and key[:8] not in absent]
        misshapen = [key for key, value in taken.items() if value.shape != own[key].shape]
        if missing or misshapen:
            raise ValueError(f"not a ResNet18 start: missing {missing[:5]}, other shape {misshapen[:5]}")
        self.load_state_dict({**own, **taken})
        for block in absent:
            last = self.get_submodule(f"{block}.bn2")
            nn.init.zeros_(last.get_parameter("weight"))
            nn.init.zeros_(last.get_parameter("bias"))


class FeatureExtraction(nn.Module):
    """ResNet18 to layer4: normalised crops ``[B, 3, H, W]`` to features ``[B, 512, H/32, W/32]``."""

    num_channels = STAGE_CHANNELS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.stages = ResNetStages()

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Features of the last stage."""
        return self.stages(x_B3HW)[-1]


def normalise(picture_B3HW: Tensor) -> Tensor:
    """Values 0..1 in sRGB to the mean and deviation that the ImageNet start was trained with."""
    mean = torch.tensor(IMAGENET_MEAN, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=picture_B3HW.device, dtype=picture_B3HW.dtype).view(1, 3, 1, 1)
    return (picture_B3HW - mean) / std
