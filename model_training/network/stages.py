"""What the feature extraction needs of an ImageNet network: five stages, and weights that load by name."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

StateDict = Mapping[str, Tensor]


class Stages(nn.Module):
    """The first ``num_stages`` of a stem and ``layer1`` to ``layer4``, which end at strides 2, 4, 8, 16 and 32.

    A subclass registers the layers, each a sequence of blocks, and its stem; all else that it registers is frozen with
    the stem. ``channels`` has each stage's; ``name`` and ``file``, the ImageNet weights, are for error messages.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD
    channels: tuple[int, ...]

    def __init__(self, num_stages: int, *, name: str, file: str) -> None:
        super().__init__()
        self.name, self.file = name, file
        self.layer_names = [f"layer{i}" for i in range(1, num_stages)]
        # Between the stem and layer1.
        self.maxpool: nn.Module = nn.Identity()

    @abstractmethod
    def stem(self, x_B3HW: Tensor) -> Tensor:
        """The features of the first stage."""

    def renamed(self, weights: StateDict) -> StateDict:
        """Published weights under the names of this module's parameters."""
        return weights

    def blocks(self) -> list[nn.Module]:
        """The blocks of all layers, in order."""
        return [block for name in self.layer_names for block in self.get_submodule(name).children()]

    def stem_parts(self) -> list[nn.Module]:
        """What belongs to no layer."""
        return [part for name, part in self.named_children() if name not in self.layer_names]

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """Features of every stage, finest first; sides H/2, H/4, ... of the normalised image's."""
        x = self.stem(x_B3HW)
        features = [x]
        for name in self.layer_names:
            if name == "layer1":
                x = self.maxpool(x)
            x = self.get_submodule(name)(x)
            features.append(x)
        return features

    def load_pretrained(self, pretrained: StateDict) -> None:
        """Load the weights of an ImageNet network of the same kind and depth, under their published names.

        A block with a shortcut that ``pretrained`` lacks starts as the identity (its last BatchNorm at zero); attention
        residual blocks keep their ``alpha`` where ``pretrained`` has none. Raises ``ValueError`` when anything else is
        missing, has another shape, or would not be used, as with a deeper network.
        """
        own, pretrained = self.state_dict(), self.renamed(pretrained)
        blocks, theirs = self._blocks_of(own), self._blocks_of(pretrained)
        absent = {block for block in blocks - theirs if getattr(self.get_submodule(block), "has_shortcut", False)}
        # BatchNorm's batch count is unused here, and not every file has it.
        optional = (".alpha", ".num_batches_tracked")
        needed = [key for key in own if not key.endswith(optional) and not self._blocks_of([key]) & absent]
        taken = {key: pretrained[key].to(own[key].dtype) for key in own if key in pretrained}
        wrong = {
            "missing": [key for key in needed if key not in pretrained],
            "other shape": [key for key, value in taken.items() if value.shape != own[key].shape],
            "left out": sorted(theirs - blocks),
        }
        if any(wrong.values()) or absent == blocks:
            raise ValueError(
                f"not a start for {self.name}: "
                + ", ".join(f"{what} {names[:5]}" for what, names in wrong.items())
                + "; start must hold ImageNet weights of the same kind of network and the same depth under their "
                + f"published names, such as {self.file}"
            )
        self.load_state_dict({**own, **taken})
        for block in absent:
            last = [module for module in self.get_submodule(block).children() if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.get_parameter("weight"))
            nn.init.zeros_(last.get_parameter("bias"))

    def _blocks_of(self, keys: Iterable[str]) -> set[str]:
        """The blocks of the layers, such as ``layer1.0``, that the parameters belong to."""
        found = {match[0] for key in keys if (match := re.match(r"layer\d+\.\d+(?=\.)", key))}
        return {block for block in found if block.partition(".")[0] in self.layer_names}
