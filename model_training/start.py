"""The ImageNet weights that the feature extraction starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from model_training.network.feature_extraction import StateDict

TORCHVISION_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


@dataclass(frozen=True)
class Start:
    """Weights with torchvision's names, and the name by which results call them."""

    name: str
    weights: StateDict
    # Ids of the dermoscopy pictures that the weights were trained on.
    seen: frozenset[str] = frozenset()


def load_start(source: str) -> Start | None:
    """The start called ``source``: ``torchvision`` (downloaded once, its hash checked), a ``.pth`` or
    ``.safetensors`` file, or ``none``. Raises ``ValueError`` when it cannot be had.
    """
    if source == "none":
        return None
    if source == "torchvision":
        try:
            weights = torch.hub.load_state_dict_from_url(
                TORCHVISION_URL, map_location="cpu", check_hash=True, weights_only=True
            )
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"cannot download {TORCHVISION_URL} ({error}); set start to the path of a copy of that file"
            ) from error
        return Start("torchvision ResNet18 IMAGENET1K_V1", weights)
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"start is neither 'torchvision', 'none' nor a file: {source}")
    weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return Start(path.name, weights)
