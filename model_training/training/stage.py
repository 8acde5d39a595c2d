"""The interface between a training stage and the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from model_training.arrays import Indices
from model_training.config import StageConfig


@dataclass(frozen=True)
class Batch:
    """This process's share of one batch, loaded onto its device."""

    indices: Indices  # [sides, share]: one side for images, two for pairs
    loaded: list[Tensor]
    # The number of images per side over all processes, and which of them are in this share.
    num_whole: int
    share: slice

    @property
    def num_pictures(self) -> int:
        """The images of the whole batch, over all sides and processes."""
        return len(self.indices) * self.num_whole


class Stage(Protocol):
    """One of the paper's two training stages."""

    name: str

    @property
    def settings(self) -> StageConfig:
        """How the stage is optimised."""

    @property
    def module(self) -> nn.Module:
        """The network that is optimised."""

    def start(self) -> None:
        """Called once before the first step, under the run's autocast, but not when a run resumes."""

    def finish(self) -> None:
        """Called once after the last epoch, before the weights are written."""

    def batches(self, epoch: int) -> Sequence[Indices]:
        """The batches of an epoch over all processes, indices ``[sides, batch]``."""

    def load(self, indices: Indices, epoch: int) -> list[Tensor]:
        """The input of ``losses`` for these images in this epoch, read from the prepared frames, on the CPU."""

    def losses(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses on this process's share; ``loss`` is minimised. Random draws cover the whole batch."""

    def validate(self) -> dict[str, float]:
        """Figures on the validation set, in float32."""
