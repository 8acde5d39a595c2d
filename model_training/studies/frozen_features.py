"""Feature maps of a frozen ImageNet ResNet18, computed once and cached, for the controls of single modules.

On frozen features a few minutes show whether a module can learn and has an effect. A module that does not work there
will not work in the whole network either, where hours of training hide the cause.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_training.data.frames import FrameSet
from model_training.data.tensors import mask_tensor, picture_tensor
from model_training.files import replace_atomically
from model_training.network.backbones import DEFAULT_BACKBONE, make_stages
from model_training.network.crop import crop, smallest_rectangle
from model_training.network.feature_extraction import normalise
from model_training.network.resnet import WIDTHS
from model_training.training.pretrained import Pretrained

Layer = Literal["layer3", "layer4"]

# Each layer's index in the output of the network, and its stride in pixels.
_STAGES: dict[Layer, int] = {"layer3": 3, "layer4": 4}
_STRIDES: dict[Layer, int] = {"layer3": 16, "layer4": 32}

BATCH = 20

FeatureMaps = NDArray[np.float16]


def lesion_boxes(pictures: FrameSet, *, margin: float) -> Tensor:
    """The smallest rectangles around the masks, ``[N, 4]``, with ``margin`` added on each side, as a share of it."""
    parts = []
    for first in range(0, len(pictures), BATCH):
        masks = mask_tensor(torch.from_numpy(pictures.masks[first : first + BATCH])).squeeze(1)
        parts.append(smallest_rectangle(masks, threshold=0.5, opening=1, margin=margin)[0])
    return torch.cat(parts)


def whole_images(pictures: FrameSet) -> Tensor:
    """Boxes ``[N, 4]`` of the whole images."""
    return torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(pictures), 1)


def frozen_features(
    pictures: FrameSet, boxes_N4: Tensor, pretrained: Pretrained, *, size: int, cache: Path
) -> dict[Layer, FeatureMaps]:
    """Maps ``[N, C, h, w]`` of layer3 and layer4 on crops of ``size`` pixels, memory-mapped from ``cache``.

    An interrupted call resumes.
    """
    folder = cache / f"features-{_digest(pictures, boxes_N4, pretrained, size)[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    maps = {layer: _open(folder / f"{layer}.npy", len(pictures), layer, size) for layer in _STAGES}
    counter = folder / "done.txt"
    done = int(counter.read_text(encoding="utf-8")) if counter.is_file() else 0
    network = make_stages().eval()
    network.load_pretrained(pretrained.weights)
    for first in range(done, len(pictures), BATCH):
        indices = np.arange(first, min(first + BATCH, len(pictures)))
        crops = crop(picture_tensor(pictures.frames, indices, torch.device("cpu")), boxes_N4[indices], size)
        with torch.inference_mode():
            stages = network(normalise(crops))
        for layer, stage in _STAGES.items():
            maps[layer][indices] = stages[stage].to(torch.float16).numpy()
            maps[layer].flush()
        counter.write_text(str(first + len(indices)), encoding="utf-8")
    return {layer: np.load(folder / f"{layer}.npy", mmap_mode="r", allow_pickle=False) for layer in _STAGES}


def layer_means(
    pictures: FrameSet, boxes_N4: Tensor, pretrained: Pretrained, *, size: int, cache: Path
) -> dict[int, NDArray[np.float32]]:
    """The means over the positions of ResNet18's layer1 to layer4, ``[N, C]`` each, as of :func:`all_means`."""
    means_NC = all_means(pictures, boxes_N4, pretrained, size=size, cache=cache)
    return dict(enumerate(np.split(means_NC, np.cumsum(WIDTHS)[:-1], axis=1), 1))


def all_means(
    pictures: FrameSet,
    boxes_N4: Tensor,
    pretrained: Pretrained,
    *,
    backbone: str = DEFAULT_BACKBONE,
    size: int,
    cache: Path,
) -> NDArray[np.float32]:
    """The means over the positions of all layers, ``[N, C]``, on crops of ``size`` pixels; kept in ``cache``."""
    path = cache / f"means-{_digest(pictures, boxes_N4, pretrained, size)[:16]}.npy"
    if not path.is_file():
        network = make_stages(backbone).eval()
        network.load_pretrained(pretrained.weights)
        parts: list[Tensor] = []
        for first in range(0, len(pictures), BATCH):
            indices = np.arange(first, min(first + BATCH, len(pictures)))
            crops = crop(picture_tensor(pictures.frames, indices, torch.device("cpu")), boxes_N4[indices], size)
            with torch.inference_mode():
                layers = network(normalise(crops, network.mean, network.std))[1:]
                parts.append(torch.cat([features.mean(dim=(2, 3)) for features in layers], dim=1))
        replace_atomically(path, lambda scratch: _save(scratch, torch.cat(parts).numpy()))
    means_NC: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return means_NC


def _save(path: Path, array: NDArray[np.float32]) -> None:
    with path.open("wb") as file:  # np.save would add a suffix to the path
        np.save(file, array)


def _open(path: Path, num: int, layer: Layer, size: int) -> np.memmap[tuple[int, ...], np.dtype[np.float16]]:
    if path.is_file():
        return np.lib.format.open_memmap(path, mode="r+")
    side = size // _STRIDES[layer]
    shape = (num, (WIDTHS[0], *WIDTHS)[_STAGES[layer]], side, side)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)


def _digest(pictures: FrameSet, boxes_N4: Tensor, pretrained: Pretrained, size: int) -> str:
    digest = hashlib.sha256(f"{pictures.digest} {pretrained.sha256} {size}".encode())
    digest.update(boxes_N4.numpy().tobytes())
    return digest.hexdigest()
