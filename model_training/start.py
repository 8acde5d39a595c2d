"""The weights that the feature extraction starts from: ImageNet's, or those of an earlier run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from model_training.network.feature_extraction import FeatureNetwork, StateDict

# torchvision's IMAGENET1K_V1 weights; the digits are the beginning of each file's SHA-256.
TORCHVISION_URLS = {
    18: "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    50: "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}


@dataclass(frozen=True)
class Start:
    """Weights with torchvision's names, and the name by which results call them."""

    name: str
    weights: StateDict
    # Ids of the dermoscopy pictures that the weights were trained on.
    seen: frozenset[str] = frozenset()


def load_start(source: str, network: FeatureNetwork = "resnet18") -> Start | None:
    """The start called ``source``: ``torchvision`` (downloaded once for ``network``'s depth, its hash checked), a
    ``.pth`` or ``.safetensors`` file, or ``none``. Raises ``ValueError`` when it cannot be had.

    A ``pictures.csv`` beside the file, as runs write it, tells which pictures the weights have seen.
    """
    if source == "none":
        return None
    if source == "torchvision":
        return _download(50 if network == "resnet50" else 18)
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"start is neither 'torchvision', 'none' nor a file: {source}")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:  # the formats have no common error
        raise ValueError(f"start is not a readable .pth or .safetensors file: {source} ({error})") from error
    return Start(path.name, weights, _seen(path.with_name("pictures.csv")))


def _download(depth: int) -> Start:
    url = TORCHVISION_URLS[depth]
    try:
        weights = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"cannot download {url} ({error}); set start to the path of a copy of that file") from error
    return Start(f"torchvision ResNet{depth} IMAGENET1K_V1", weights)


def _seen(table: Path) -> frozenset[str]:
    if not table.is_file():
        return frozenset()
    with table.open(newline="", encoding="utf-8") as file:
        return frozenset(row["id"] for row in csv.DictReader(file))
