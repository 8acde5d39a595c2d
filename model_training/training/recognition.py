"""Second stage: feature extraction, lesion feature attention and distinguish module, on crops (Eqn 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from model_training.arrays import Indices
from model_training.config import NetworkConfig, RecognitionConfig
from model_training.data.artefacts import with_artefacts
from model_training.data.augment import AUGMENTATIONS, change_colours, random_colours, random_views
from model_training.data.frames import FrameSet
from model_training.data.sampling import balanced_pair_batches, random_batches, random_pair_batches, random_pairs
from model_training.data.tensors import frame_tensor, picture_tensor
from model_training.metrics import area_under_roc
from model_training.network.cin import (
    NUM_BRANCHES,
    BranchOutput,
    ClinicalInspiredNetwork,
    num_planes,
    summed_probabilities,
)
from model_training.network.lesion_area_attention import LesionArea
from model_training.network.losses import class_weights, classification_loss, distinguish_loss, total_loss
from model_training.network.stages import StateDict
from model_training.training.regression import Penalty, fit_regression, variation_within
from model_training.training.stage import Batch

VALIDATION_BATCH = 32
# Number of validation pairs for the distinguish module's AUC.
NUM_VALIDATION_PAIRS = 500
NUM_DIHEDRAL = 8
# Changed copies of each training image to which a classifier that starts as a regression is fitted, beside as many of
# its turns and mirror images.
NUM_CHANGED_COPIES = 4


def build_network(network: NetworkConfig, num_classes: int) -> ClinicalInspiredNetwork:
    """Build the recognition part of the network from the configuration."""
    return ClinicalInspiredNetwork(
        num_classes=num_classes,
        features=network.features,
        attention=network.attention if network.lesion_feature_attention else None,
        attention_start=network.attention_start,
        classifier_layers=network.classifier_layers,
        classifier_pooling=network.classifier_pooling,
        classifier_features=network.classifier_features,
        classifier_start=network.classifier_start,
        distinguish=network.distinguish_form if network.distinguish else None,
        distinguish_norm=network.distinguish_norm,
        distinguish_initialisation=network.distinguish_initialisation,
        branches=network.branches,
        lesion_pooling=network.lesion_pooling,
        second_view=network.second_view,
    )


class RecognitionStage:
    """The second stage; ``train_areas`` and ``validation_areas`` are the lesions that the first stage found."""

    name = "recognition"

    def __init__(
        self,
        *,
        settings: RecognitionConfig,
        network: NetworkConfig,
        pretrained: StateDict | None,
        train: FrameSet,
        validation: FrameSet,
        train_areas: LesionArea,
        validation_areas: LesionArea,
        seed: int,
        device: torch.device,
    ) -> None:
        self.settings, self.size = settings, network.size
        self.augmentation = AUGMENTATIONS[settings.augmentation]
        self.penalty = Penalty(settings.regression_penalty, settings.variation_penalty)
        self.train, self.validation = train, validation
        self.train_areas, self.validation_areas = train_areas, validation_areas
        self.seed, self.device = seed, device
        self.labels = torch.from_numpy(train.labels).to(device)
        num_classes = len(train.classes)
        weighted = settings.class_weights == "inverse"
        self.weights = class_weights(self.labels, num_classes) if weighted else torch.ones(num_classes, device=device)
        torch.manual_seed(seed)
        self.module = build_network(network, num_classes)
        if pretrained is not None:
            self.module.load_pretrained(pretrained)
        for place, branch in enumerate(self.module.own_branches()):
            branch.features.freeze(None if settings.frozen_branch and place == 1 else settings.frozen_blocks)
            if branch.start == "regression" and self.penalty.variation:
                branch.keep_variation()

    def start(self) -> None:
        """Initialise the classifiers from the features of the training images, where the configuration says so.

        Every image counts in its quarter turns and mirror images: from one alone, a regression learns how images of
        each class happen to lie. With a penalty on variation, half of them are replaced by copies with artefacts and
        under the augmentation of training.
        """
        branches = [branch for branch in self.module.own_branches() if branch.standardise is not None]
        if not branches:
            return
        self.module.to(self.device).eval()
        parts = [list[Tensor]() for _ in branches]
        with torch.no_grad():
            for copies in self._copies():
                pooled = [[branch(views).pooled_BC.float() for branch in branches] for views in copies]
                for kept, of_branch in zip(parts, zip(*pooled, strict=True), strict=True):
                    kept.append(torch.stack(of_branch, dim=1))
        for features_NVC, branch in zip(map(torch.cat, parts), branches, strict=True):
            assert branch.standardise is not None
            branch.standardise.fit(features_NVC.flatten(0, 1))
            if branch.start == "regression":
                (layer,) = branch.classify
                assert isinstance(layer, nn.Linear)
                standardised_NVC = branch.standardise(features_NVC)
                if branch.variation is not None:
                    branch.variation = variation_within(standardised_NVC)
                labels = self.labels.repeat_interleave(standardised_NVC.shape[1])
                features_NC = standardised_NVC.flatten(0, 1)
                fit_regression(layer, features_NC, labels, self.weights, self.penalty, branch.variation)

    def finish(self) -> None:
        """Drop what only the loss needs."""
        for branch in self.module.own_branches():
            branch.variation = None

    def _copies(self) -> Iterator[Iterator[Tensor]]:
        """Copies of the training images, batch by batch: what the branches see of each, ``[B, C, size, size]``.

        The copies of a batch come one at a time: all together would take gigabytes.
        """
        generator = torch.Generator().manual_seed(self.seed)
        clean = views_of(self.module, self.train, self.train_areas, self.size, self.device)
        for indices, views in zip(_batches_of(self.train), clean, strict=True):
            yield self._changed_copies(indices, views, generator) if self.penalty.variation else dihedral_views(views)

    def _changed_copies(self, indices: Indices, views: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        yield from islice(dihedral_views(views), 0, None, NUM_DIHEDRAL // NUM_CHANGED_COPIES)
        for copy in range(NUM_CHANGED_COPIES):
            frames = with_artefacts(self.train.frames, indices, 1.0, seed=(self.seed, copy, NUM_BRANCHES))
            how, colours = self._random_changes(len(indices), generator)
            on_device = torch.from_numpy(frames).to(self.device)
            yield self._augmented(on_device, torch.from_numpy(indices), how, colours)

    def batches(self, epoch: int) -> Sequence[Indices]:
        """Batches of pairs, in which each branch gets nearly every image once; of images for a single branch."""
        num, size = len(self.train), self.settings.batch_size
        if len(self.module.branches) == 1:
            return random_batches(num, size, seed=self.seed, epoch=epoch)
        if self.settings.pairs == "balanced":
            return balanced_pair_batches(self.train.labels, size, seed=self.seed, epoch=epoch)
        return random_pair_batches(num, size, seed=self.seed, epoch=epoch)

    def load(self, indices: Indices, epoch: int) -> list[Tensor]:
        """The frames of each side of the pairs, uint8 ``[B, F, F, 3]``."""
        share = self.settings.artefacts
        sides = [
            with_artefacts(self.train.frames, side, share, seed=(self.seed, epoch, place))
            for place, side in enumerate(indices)
        ]
        return [torch.from_numpy(frames) for frames in sides]

    def losses(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Eqn 4 over the images of every pair, Eqn 5 over the pairs, and Eqn 6."""
        sides = [torch.from_numpy(side).to(self.device) for side in batch.indices]
        views = []
        for frames, side in zip(batch.loaded, sides, strict=True):
            how, colours = self._random_changes(batch.num_whole, generator)
            views.append(self._augmented(frames, side, how[batch.share], colours[batch.share]))
        output = module(*views)
        labels = [self.labels[side] for side in sides]
        classification = classification_loss(torch.cat(output.logits_BK), torch.cat(labels), self.weights)
        penalty = self._penalty()
        if output.same_B is None:
            return {"loss": classification + penalty}
        distinguish = distinguish_loss(output.same_B, *labels)
        loss = total_loss(classification, distinguish, self.settings.distinguish_weight)
        return {"loss": loss + penalty, "classification": classification, "distinguish": distinguish}

    def _penalty(self) -> Tensor:
        """The regression's penalty: training continues the objective that the classifiers started from."""
        branches = self.module.own_branches()
        layers = [(branch.classify[0], branch.variation) for branch in branches if branch.start == "regression"]
        penalties = [self.penalty.of(layer, found) for layer, found in layers if isinstance(layer, nn.Linear)]
        return torch.stack(penalties).sum() / len(branches) if penalties else torch.zeros((), device=self.device)

    def _random_changes(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """How to move each of ``num`` images, and its changes of colour."""
        how = random_views(num, self.augmentation, generator)
        return how, random_colours(num, self.augmentation, generator)

    def _augmented(self, frames: Tensor, indices: Tensor, how_B23: Tensor, colours_B6: Tensor) -> Tensor:
        attention, boxes, _ = (part[indices.cpu()].to(self.device) for part in self.train_areas)
        views = self.module.views(frame_tensor(frames), attention, boxes, self.size, how_B23.to(self.device))
        parts = views.split(num_planes(lesion_pooling=self.module.lesion_pooling), dim=1)
        return torch.cat([torch.cat([change_colours(p[:, :3], colours_B6), p[:, 3:]], dim=1) for p in parts], dim=1)

    def validate(self) -> dict[str, float]:
        """AUC of each class against the rest, from the summed probabilities; with D, also its AUC on pairs."""
        logits_parts, features = [], [list[Tensor]() for _ in self.module.branches]
        for views in views_of(self.module, self.validation, self.validation_areas, self.size, self.device):
            branches = self.module.diagnose(views)
            logits_parts.append(_logits(branches).cpu())
            if self.module.distinguish is not None:
                for kept, branch in zip(features, branches, strict=True):
                    kept.append(branch.features_BCHW)
        logits = torch.cat(logits_parts)
        probabilities, _ = summed_probabilities(logits, torch.ones(logits.shape[1]))
        truth = self.validation.labels[:, None] == np.arange(len(self.validation.classes))
        scores = probabilities.numpy().astype(np.float64)
        aucs = {f"auc_{c}": area_under_roc(truth[:, k], scores[:, k]) for k, c in enumerate(self.validation.classes)}
        if self.module.distinguish is None:
            return aucs
        first, second = (torch.cat(parts) for parts in features)
        pairs = random_pairs(len(self.validation), NUM_VALIDATION_PAIRS, seed=0)
        same = [
            self.module.distinguish(first[i], second[j]).float().cpu()
            for i, j in (torch.from_numpy(pairs).split(VALIDATION_BATCH, dim=1))
        ]
        truth_P = np.equal(*self.validation.labels[pairs])
        return {**aucs, "pair_auc": area_under_roc(truth_P, torch.cat(same).double().numpy())}


def predict_logits(
    module: ClinicalInspiredNetwork,
    pictures: FrameSet,
    areas: LesionArea,
    size: int,
    device: torch.device,
    *,
    num_views: int = 1,
) -> Tensor:
    """The paper's test phase on a whole set: logits of both branches on each image, ``[N, 2, K]`` on the CPU.

    ``num_views=8`` averages them over quarter turns and mirror images.
    """
    logits: list[Tensor] = []
    for views in views_of(module, pictures, areas, size, device):
        turned = dihedral_views(views) if num_views == NUM_DIHEDRAL else [views]
        diagnosed = [_logits(module.diagnose(views)) for views in turned]
        logits.append(torch.stack(diagnosed).mean(dim=0).cpu())
    return torch.cat(logits)


def views_of(
    module: ClinicalInspiredNetwork, pictures: FrameSet, areas: LesionArea, size: int, device: torch.device
) -> Iterator[Tensor]:
    """What the branches see in the test phase, values 0..1, batch by batch ``[B, C, size, size]``."""
    for indices in _batches_of(pictures):
        attention, boxes, _ = (part[indices].to(device) for part in areas)
        yield module.views(picture_tensor(pictures.frames, indices, device), attention, boxes, size)


def _batches_of(pictures: FrameSet) -> Iterator[Indices]:
    for first in range(0, len(pictures), VALIDATION_BATCH):
        yield np.arange(first, min(first + VALIDATION_BATCH, len(pictures)))


def _logits(branches: Sequence[BranchOutput]) -> Tensor:
    return torch.stack([branch.logits_BK for branch in branches], dim=1).float()


def dihedral_views(picture_BCHW: Tensor) -> Iterator[Tensor]:
    """The four quarter turns of square images, and those of their mirror image, one at a time."""
    for side in (picture_BCHW, picture_BCHW.flip(3)):
        for turns in range(4):
            yield torch.rot90(side, turns, dims=(2, 3))
