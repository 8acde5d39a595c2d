"""First stage: the lesion area attention module alone, on images with masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model_training.arrays import Indices
from model_training.config import AreaConfig, NetworkConfig
from model_training.data.artefacts import with_artefacts
from model_training.data.augment import LIGHT, change_colours, random_colours, random_views
from model_training.data.frames import FrameSet
from model_training.data.pictures import DatasetError
from model_training.data.sampling import random_batches
from model_training.data.tensors import frame_tensor, mask_tensor, picture_tensor
from model_training.metrics import jaccard
from model_training.network.crop import crop
from model_training.network.lesion_area_attention import (
    AuxiliaryBranch,
    LesionArea,
    LesionAreaAttention,
    LesionLocator,
)
from model_training.network.losses import area_loss
from model_training.network.stages import StateDict
from model_training.training.stage import Batch

INFERENCE_BATCH = 32


class AreaStage:
    """The first stage. Raises :class:`DatasetError` when no training image has a mask."""

    name = "area"

    def __init__(
        self,
        *,
        settings: AreaConfig,
        network: NetworkConfig,
        pretrained: StateDict | None,
        train: FrameSet,
        validation: FrameSet,
        seed: int,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.train, self.validation = train, validation
        self.seed, self.device = seed, device
        self.with_mask = np.flatnonzero(train.has_mask)
        if len(self.with_mask) == 0:
            raise DatasetError(
                f"no image of {train.name} has a mask, so there is nothing to learn the lesion area from; add the "
                "masks, or train without: --set network.lesion_area_attention=false"
            )
        torch.manual_seed(seed)
        self.module = LesionAreaAttention(input_size=network.area_size)
        self.auxiliary = AuxiliaryBranch().to(device) if settings.auxiliary_weight > 0 else None
        if pretrained is not None:
            self.module.load_pretrained(pretrained)
            if self.auxiliary is not None:
                self.auxiliary.blocks.load_pretrained(pretrained)

    def start(self) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Nothing is left over."""

    def batches(self, epoch: int) -> Sequence[Indices]:
        """Every image that has a mask, once."""
        order = random_batches(len(self.with_mask), self.settings.batch_size, seed=self.seed, epoch=epoch)
        return [self.with_mask[batch] for batch in order]

    def load(self, indices: Indices, epoch: int) -> list[Tensor]:
        """Frames ``[B, F, F, 3]`` and masks ``[B, F, F]``, uint8."""
        frames = with_artefacts(self.train.frames, indices[0], self.settings.artefacts, seed=(self.seed, epoch))
        return [torch.from_numpy(frames), torch.from_numpy(self.train.masks[indices[0]])]

    def losses(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Pixel-wise cross-entropy plus the weighted auxiliary loss."""
        picture, truth = self._augmented(batch, generator)
        logits = module(picture)
        cross_entropy = area_loss(logits, truth)
        if self.auxiliary is None:
            return {"loss": cross_entropy}
        auxiliary = self.auxiliary(picture, torch.sigmoid(logits.float()), truth)
        total = cross_entropy + self.settings.auxiliary_weight * auxiliary
        return {"loss": total, "cross_entropy": cross_entropy, "auxiliary": auxiliary}

    def _augmented(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        frames, masks = batch.loaded
        picture, mask = frame_tensor(frames), mask_tensor(masks)
        views = random_views(batch.num_whole, LIGHT, generator)[batch.share].to(self.device)
        colours = random_colours(batch.num_whole, LIGHT, generator)[batch.share]
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=self.device).expand(len(views), 4)
        # Image and mask are resized like the module's own input, then share one random view.
        size = self.module.input_size
        both = crop(torch.cat([self.module.resize(picture), self.module.resize(mask)], dim=1), whole, size, views)
        return change_colours(both[:, :3], colours), both[:, 3]

    def validate(self) -> dict[str, float]:
        """Mean Jaccard index at frame size, over the images that have a mask."""
        chosen = np.flatnonzero(self.validation.has_mask)
        scores: list[float] = []
        for first in range(0, len(chosen), INFERENCE_BATCH):
            indices = chosen[first : first + INFERENCE_BATCH]
            attention = torch.sigmoid(self.module(picture_tensor(self.validation.frames, indices, self.device)).float())
            size = self.validation.frames.shape[1]
            resized = nn.functional.interpolate(attention.unsqueeze(1), (size, size), mode="bilinear").squeeze(1)
            found = (resized > 0.5).cpu().numpy()
            scores += [jaccard(f, t > 128) for f, t in zip(found, self.validation.masks[indices], strict=True)]
        return {"jaccard": float(np.mean(scores))} if scores else {}


def lesion_areas(locator: LesionLocator, pictures: FrameSet, device: torch.device) -> LesionArea:
    """The lesion area of every image, found on ``device`` and returned on the CPU."""
    locator.to(device)
    parts: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        for first in range(0, len(pictures), INFERENCE_BATCH):
            indices = np.arange(first, min(first + INFERENCE_BATCH, len(pictures)))
            found = locator(picture_tensor(pictures.frames, indices, device))
            parts.append(tuple(part.cpu() for part in found))
    return LesionArea(*(torch.cat(part) for part in zip(*parts, strict=True)))
