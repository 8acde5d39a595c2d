"""The duration of training steps on this machine, measured on batches of noise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from model_training.config import Config
from model_training.data.frames import FrameSet
from model_training.data.isic import CLASSES_2017
from model_training.network.lesion_area_attention import whole_images
from model_training.training.area import AreaStage
from model_training.training.devices import make_fabric
from model_training.training.optimisation import make_optimiser
from model_training.training.recognition import RecognitionStage
from model_training.training.stage import Batch, Stage

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# After one warm-up step, which allocates memory and chooses algorithms.
TIMED_STEPS = 2


def time_area_batch(config: Config) -> float:
    """Seconds per batch of the first stage."""
    frames = random_frames(config.area.batch_size, config.data.frame_size)
    fabric = make_fabric(config)
    return _seconds_per_batch(AreaStage(settings=config.area, **_common(config, frames, fabric.device)), fabric)


def time_recognition_batch(config: Config) -> float:
    """Seconds per batch of the second stage."""
    frames = random_frames(max(config.recognition.batch_size, len(CLASSES_2017)), config.data.frame_size)
    fabric = make_fabric(config)
    areas = whole_images(len(frames))
    stage = RecognitionStage(
        settings=config.recognition,
        train_areas=areas,
        validation_areas=areas,
        **_common(config, frames, fabric.device),
    )
    return _seconds_per_batch(stage, fabric)


def random_frames(num: int, frame_size: int) -> FrameSet:
    """``num`` images of noise with masks, and with every class of ISIC 2017 among their labels."""
    rng = np.random.default_rng(0)
    return FrameSet(
        name="noise",
        digest="",
        classes=CLASSES_2017,
        ids=tuple(f"ISIC_{i:07d}" for i in range(num)),
        frames=rng.integers(0, 256, (num, frame_size, frame_size, 3), dtype=np.uint8),
        masks=np.full((num, frame_size, frame_size), 255, dtype=np.uint8),
        has_mask=np.ones(num, dtype=np.bool_),
        labels=np.arange(num) % len(CLASSES_2017),
    )


def _common(config: Config, frames: FrameSet, device: torch.device) -> dict[str, Any]:
    parts = {"network": config.network, "train": frames, "validation": frames}
    return {**parts, "pretrained": None, "seed": config.seed, "device": device}


def _seconds_per_batch(stage: Stage, fabric: Fabric) -> float:
    stage.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module: Any
    module, optimiser = fabric.setup(stage.module, make_optimiser(stage.module, stage.settings))
    assert isinstance(stage.module, nn.Module)
    module.train()
    indices = stage.batches(0)[0]
    loaded = [tensor.to(fabric.device) for tensor in stage.load(indices, 0)]
    batch = Batch(indices, loaded, indices.shape[1], slice(None))
    for step in range(TIMED_STEPS + 1):
        if step == 1:
            _finish_queued_work()
            began = time.monotonic()
        loss = stage.losses(module, batch, torch.Generator().manual_seed(step))["loss"]
        optimiser.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimiser.step()
    _finish_queued_work()
    return (time.monotonic() - began) / TIMED_STEPS


def _finish_queued_work() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
