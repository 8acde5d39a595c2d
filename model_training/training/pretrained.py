"""Pretrained weights of the feature extraction (``start`` in the configuration): ImageNet's or an earlier run's."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import Tensor

from model_training.network.backbones import BACKBONES, DEFAULT_BACKBONE, Backbone
from model_training.network.stages import StateDict

# Prefix of the first branch's feature extraction in the weights of a recognition run.
BRANCH_PREFIX = "branches.0.features.stages."


@dataclass(frozen=True)
class Pretrained:
    """Weights under torchvision's parameter names, and the name that results record."""

    name: str
    weights: StateDict
    # Dermoscopy images that the weights were trained on: id to the SHA-256 of the pixels, "" if unknown.
    seen: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of names and values; independent of the file format."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            tensor = self.weights[name].cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def load_pretrained(source: str, network: str = DEFAULT_BACKBONE) -> Pretrained | None:
    """Load the weights that ``source`` names: ``torchvision``, a ``.pth`` or ``.safetensors`` file, or ``none``.

    ``torchvision`` is downloaded once for ``network`` and checked against its hash. A file has torchvision's
    names, or is the ``weights.safetensors`` of a recognition run, of which the first branch is used; the run's
    ``pictures.csv`` in the same folder lists its training images. Raises ``ValueError`` for anything else.
    """
    if source == "none":
        return None
    if source == "torchvision":
        return _download(BACKBONES[network])
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"start is neither 'torchvision', 'none' nor a file: {source}")
    return Pretrained(path.name, _read(path), _seen(path.with_name("pictures.csv")))


def _read(path: Path) -> StateDict:
    try:
        safe = path.suffix == ".safetensors"
        weights = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the formats have no common error
        # Only the first line: the rest of PyTorch's message advises a way of loading that may execute code.
        why = str(error).partition("\n")[0]
        raise ValueError(f"start is not a readable .pth or .safetensors file: {path} ({why})") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"start holds something other than weights by name: {path}; save the state_dict alone")
    branch = {key.removeprefix(BRANCH_PREFIX): weights[key] for key in weights if key.startswith(BRANCH_PREFIX)}
    return branch or weights


def _download(backbone: Backbone) -> Pretrained:
    url = backbone.url
    if url is None:
        raise ValueError(
            f"torchvision has no weights of {backbone.title}: set start to the path of {backbone.file} "
            f"({backbone.source}), and area_start to torchvision or a ResNet18's"
        )
    try:
        weights = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(
            f"cannot download {url}, or read its copy in {torch.hub.get_dir()} ({error}); "
            "set start to the path of a copy of that file"
        ) from error
    # Networks that share a file are called like the first.
    title = next(each.title for each in BACKBONES.values() if each.file == backbone.file)
    return Pretrained(f"torchvision {title} IMAGENET1K_V1", weights)


def _seen(table: Path) -> dict[str, str]:
    if not table.is_file():
        return {}
    # With or without a byte order mark, which spreadsheets write.
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if "id" not in (rows.fieldnames or ()):
            raise ValueError(
                f"{table} has no column 'id'; it must list the images that the weights next to it were trained on "
                "(columns id,sha256)"
            )
        return {row["id"]: row.get("sha256") or "" for row in rows}
