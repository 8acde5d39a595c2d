"""Small runs of the real stages on synthetic images; as a program, one that may be killed or stopped on the way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from model_training.config import Config
from model_training.data.frames import FrameSet
from model_training.data.isic import CLASSES_2017
from model_training.network.lesion_area_attention import whole_images
from model_training.training.area import AreaStage
from model_training.training.devices import make_fabric
from model_training.training.recognition import RecognitionStage
from model_training.training.run_folder import RunFolder
from model_training.training.trainer import train
from tests.model_training.narrow import narrow_networks
from tests.synthetic import synthesise

CONFIG = Config.model_validate(
    {
        "seed": 3,
        "start": "none",
        "precision": "32-true",
        "network": {"size": 32, "area_size": 32},
        "area": {"epochs": 2, "batch_size": 4, "optimiser": "sgd"},
        "recognition": {"epochs": 3, "batch_size": 4, "optimiser": "adamw", "schedule": "cosine"},
    }
)

REGRESSION = {"classifier_layers": 1, "classifier_features": "all", "classifier_start": "regression"}


def small_frames(num: int = 12, size: int = 32) -> FrameSet:
    """Synthetic images in memory, the classes in turn."""
    rng = np.random.default_rng(0)
    drawn = [synthesise(CLASSES_2017[i % 3], size, rng) for i in range(num)]
    return FrameSet(
        name="synthetic",
        digest="0" * 64,
        classes=CLASSES_2017,
        ids=tuple(f"ISIC_{i:07d}" for i in range(num)),
        frames=np.stack([d.pixels for d in drawn]),
        masks=np.stack([d.mask for d in drawn]),
        has_mask=np.ones(num, dtype=np.bool_),
        labels=np.array([i % 3 for i in range(num)]),
    )


def run_small(
    stage_name: str,
    folder: Path,
    *,
    signal_after: int | None = None,
    number: int = 0,
    deadline: float | None = None,
) -> dict[str, Tensor]:
    """Train (or resume) in ``folder``; send this process signal ``number`` in step ``signal_after``.

    ``stage_name`` is a stage, or one of the variants ``area-batch-of-three``, ``area-diverging``,
    ``area-slow`` and ``recognition-without-dropout`` (in small steps), and in bfloat16 ``recognition-steady``
    (strongly augmented, with classifiers that start as regressions and both penalties).
    """
    torch.set_num_threads(1)
    frames = small_frames()
    stage_name, _, variant = stage_name.partition("-")
    fabric = make_fabric(CONFIG.model_copy(update={"precision": "bf16-mixed"} if variant == "steady" else {}))
    fabric.launch()
    common: dict[str, Any] = {
        "network": CONFIG.network.model_copy(update=REGRESSION if variant == "steady" else {}),
        "pretrained": None,
        "train": frames,
        "validation": frames,
        "seed": CONFIG.seed,
        "device": fabric.device,
    }
    stage: Any
    changes: dict[str, dict[str, Any]]
    if stage_name == "area":
        changes = {"batch-of-three": {"batch_size": 3}, "diverging": {"learning_rate": 1e30}}
        changes["slow"] = {"learning_rate": 1e-4}
        stage = AreaStage(settings=CONFIG.area.model_copy(update=changes.get(variant)), **common)
    else:
        areas = whole_images(len(frames))._replace(box_B4=torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(len(frames), 1))
        # AdamW makes a whole step of a gradient that is zero but for rounding, and batch normalisation over four values
        # makes large steps, and many, chaotic: both would hide whether two runs compute the same.
        changes = {
            "without-dropout": {"epochs": 2, "optimiser": "sgd", "learning_rate": 1e-5},
            "steady": {"augmentation": "strong", "variation_penalty": 1.0},
        }
        settings = CONFIG.recognition.model_copy(update=changes.get(variant))
        stage = RecognitionStage(settings=settings, train_areas=areas, validation_areas=areas, **common)
    if variant == "without-dropout":
        for module in stage.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    losses, steps = stage.losses, 0
    reduce, num_reductions = fabric.all_reduce, 0

    def counted_reduce(*args: Any, **options: Any) -> Any:
        nonlocal num_reductions
        num_reductions += 1
        return reduce(*args, **options)

    fabric.all_reduce = counted_reduce  # type: ignore[method-assign]

    def losses_with_signal(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == signal_after:
            os.kill(os.getpid(), number)
        return losses(*args)

    stage.losses = losses_with_signal
    run = RunFolder(folder)
    run.open(CONFIG, stage_name, {"data": {}, "start": "none"})
    train(stage, run, fabric, seed=CONFIG.seed, console=Console(quiet=True), deadline=deadline)
    if fabric.is_global_zero:
        (folder / "reductions.txt").write_text(str(num_reductions), encoding="utf-8")
    return run.load_weights(CONFIG, stage_name)


if __name__ == "__main__":
    stage_and_folder, rest = sys.argv[1:3], sys.argv[3:]
    with narrow_networks():
        run_small(
            stage_and_folder[0],
            Path(stage_and_folder[1]),
            signal_after=int(rest[0]) if rest else None,
            number=signal.Signals[rest[1]] if len(rest) > 1 else signal.SIGKILL,
        )
