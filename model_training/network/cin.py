"""The Clinical-Inspired Network (paper, Fig. 1): two branches over the cropped images, and the distinguish module."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_training.network.backbones import DEFAULT_BACKBONE
from model_training.network.crop import crop
from model_training.network.distinguish import Distinguish, DistinguishNorm, Initialisation
from model_training.network.feature_extraction import FeatureExtraction
from model_training.network.lesion_feature_attention import AttentionForm, LesionFeatureAttention
from model_training.network.stages import StateDict
from model_training.network.synergic import Synergic

NUM_BRANCHES = 2

# Of positions outside of the lesion, so that an image without one has a mean.
LEAST_WEIGHT = 1e-3

ClassifierPooling = Literal["before", "between"]
ClassifierFeatures = Literal["last", "all"]
ClassifierStart = Literal["random", "regression"]


class BranchOutput(NamedTuple):
    """One branch on one batch; the maps are None without lesion feature attention."""

    logits_BK: Tensor
    features_BCHW: Tensor
    # Pooled features of the layers before those in ``features_BCHW``.
    early_BC: Tensor
    # What the classifier sees before it is standardised.
    pooled_BC: Tensor
    spatial_BCHW: Tensor | None
    correlation_BMM: Tensor | None


class TrainingOutput(NamedTuple):
    """The network on a batch of pairs, or of single images for a network of one branch."""

    # Of each branch, for its images.
    logits_BK: list[Tensor]
    # The logit of "same class"; None without the distinguish module.
    same_B: Tensor | None


class Standardise(nn.Module):
    """Standardise features ``[B, C]`` to mean 0 and deviation 1 over the training images of :meth:`fit`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def fit(self, features_NC: Tensor) -> None:
        """Compute mean and deviation of the training images' features."""
        self.mean.copy_(features_NC.mean(dim=0))
        self.deviation.copy_(features_NC.std(dim=0).clamp_min(1e-4))

    def forward(self, features_BC: Tensor) -> Tensor:
        """The features, standardised."""
        return (features_BC - self.mean) / self.deviation


class Branch(nn.Module):
    """Feature extraction, lesion feature attention, and a classifier of one or two fully connected layers."""

    def __init__(
        self,
        *,
        num_classes: int,
        features: str,
        attention: AttentionForm | None,
        attention_start: float,
        classifier_layers: Literal[1, 2],
        classifier_pooling: ClassifierPooling,
        classifier_features: ClassifierFeatures = "last",
        classifier_start: ClassifierStart = "random",
        lesion_pooling: bool = False,
        view: int = 0,
        hidden: int = 256,
    ) -> None:
        """``view`` is the place of what this branch sees in :meth:`ClinicalInspiredNetwork.views`."""
        super().__init__()
        self.features = FeatureExtraction(features)
        channels = self.features.num_channels
        self.attention = LesionFeatureAttention(channels, attention, start=attention_start) if attention else None
        self.pooling = classifier_pooling
        self.uses_early, self.start = classifier_features == "all", classifier_start
        self.lesion_pooling, self.view = lesion_pooling, view
        if self.uses_early:
            channels += self.features.num_early_channels
        if lesion_pooling:
            channels *= 2
        standardised = self.uses_early or self.lesion_pooling or self.start == "regression"
        self.standardise = Standardise(channels) if standardised else None
        # In training: the covariance of the standardised features within an image's copies at the start, ``[C, C]``.
        self.variation: Tensor | None
        self.register_buffer("variation", None)
        self.classify = nn.Sequential(nn.Linear(channels, num_classes))
        if classifier_layers == 2:
            self.classify = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_classes)
            )

    def forward(self, views_BCSS: Tensor) -> BranchOutput:
        """Views of the images, values 0..1, to the logits of the classes and the attention maps behind them."""
        first = self.view * num_planes(lesion_pooling=self.lesion_pooling)
        *early, features = self.features(self.features.normalise(views_BCSS[:, first : first + 3]))
        spatial, correlation = None, None
        if self.attention is not None:
            features, spatial, correlation = self.attention(features)
        layers = [*early, features] if self.uses_early else [features]
        means = [_mean(layer) for layer in layers]
        if self.lesion_pooling:
            lesion_B1SS = views_BCSS[:, first + 3 : first + 4]
            means += [lesion_mean(layer, lesion_B1SS) for layer in layers]
        pooled_BC = torch.cat(means, dim=1)
        early_BC = torch.cat([_mean(layer) for layer in early], dim=1)
        logits_BK = self.logits(features, pooled_BC)
        return BranchOutput(logits_BK, features, early_BC, pooled_BC, spatial, correlation)

    def keep_variation(self) -> None:
        """Make room for the features' variation, which a penalty needs and checkpoints then have."""
        assert self.standardise is not None
        channels = len(self.standardise.mean)
        self.variation = torch.zeros(channels, channels)

    def logits(self, attended_BCHW: Tensor, pooled_BC: Tensor) -> Tensor:
        """The classification of F_A, ``[B, K]``."""
        if self.pooling == "before":
            return self.classify(pooled_BC if self.standardise is None else self.standardise(pooled_BC))
        hidden_BMH = self.classify[:-1](attended_BCHW.flatten(2).transpose(1, 2))
        return self.classify[-1](hidden_BMH.mean(dim=1))


def num_planes(*, lesion_pooling: bool) -> int:
    """The planes of one view: red, green, blue and, to pool over the lesion, its attention map."""
    return 4 if lesion_pooling else 3


def _mean(features_BCHW: Tensor) -> Tensor:
    return features_BCHW.mean(dim=(2, 3))


def lesion_mean(features_BCHW: Tensor, lesion_B1SS: Tensor) -> Tensor:
    """The mean of the features, ``[B, C]``, weighted by the lesion's attention map 0..1; over all if there is none."""
    weights_B1HW = F.avg_pool2d(lesion_B1SS, lesion_B1SS.shape[3] // features_BCHW.shape[3]) + LEAST_WEIGHT
    return (features_BCHW * weights_B1HW).sum(dim=(2, 3)) / weights_B1HW.sum(dim=(2, 3))


class ClinicalInspiredNetwork(nn.Module):
    """The recognition part of CIN: everything after the lesion area attention module.

    ``branches="shared"`` gives both branches the same weights; at test time the sum over branches is then the output of
    one. ``attention=None`` and ``distinguish=None`` switch F and D of the paper's Table 1 off;
    ``branches="single"`` is for the rows without D, which learn from images instead of pairs.
    ``distinguish="synergic"`` compares the pair as synergic deep learning does.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        features: str = DEFAULT_BACKBONE,
        attention: AttentionForm | None = "stabilised",
        attention_start: float = 0.0,
        classifier_layers: Literal[1, 2] = 2,
        classifier_pooling: ClassifierPooling = "before",
        classifier_features: ClassifierFeatures = "last",
        classifier_start: ClassifierStart = "random",
        distinguish: Literal["convolutional", "synergic"] | None = "convolutional",
        distinguish_norm: DistinguishNorm = "none",
        distinguish_initialisation: Initialisation = "default",
        branches: Literal["separate", "shared", "single"] = "separate",
        lesion_pooling: bool = False,
        second_view: Literal["crop", "whole"] = "crop",
    ) -> None:
        super().__init__()
        self.lesion_pooling, self.with_whole = lesion_pooling, second_view == "whole"

        def branch(view: int = 0) -> Branch:
            return Branch(
                num_classes=num_classes,
                features=features,
                attention=attention,
                attention_start=attention_start,
                classifier_layers=classifier_layers,
                classifier_pooling=classifier_pooling,
                classifier_features=classifier_features,
                classifier_start=classifier_start,
                lesion_pooling=lesion_pooling,
                view=view,
            )

        first = branch()
        seconds = {"separate": lambda: branch(int(self.with_whole)), "shared": lambda: first}
        self.branches = nn.ModuleList([first, seconds[branches]()] if branches in seconds else [first])
        channels = first.features.num_channels
        self.distinguish: Distinguish | Synergic | None = None
        if distinguish == "convolutional":
            self.distinguish = Distinguish(channels, norm=distinguish_norm, initialisation=distinguish_initialisation)
        elif distinguish == "synergic":
            self.distinguish = Synergic(channels)

    def own_branches(self) -> list[Branch]:
        """The distinct branches: one if they share their weights."""
        return list(dict.fromkeys(branch for branch in self.branches if isinstance(branch, Branch)))

    def load_pretrained(self, pretrained: StateDict) -> None:
        """Load the weights of an ImageNet network of the same kind into every branch's feature extraction."""
        for branch in self.own_branches():
            branch.features.stages.load_pretrained(pretrained)

    def views(
        self,
        picture_B3FF: Tensor,
        attention_BSS: Tensor,
        box_B4: Tensor,
        size: int,
        view_B23: Tensor | None = None,
    ) -> Tensor:
        """What the branches see, ``[B, C, size, size]``: the crop and, for a branch on it, the whole image.

        Each has the lesion's attention map 0..1 as a fourth plane where the classifiers pool over the lesion.
        ``view_B23`` is an augmentation, as in :func:`crop`.
        """
        if self.lesion_pooling:
            lesion_B1SS = attention_BSS.unsqueeze(1).to(picture_B3FF.dtype)
            lesion_B1FF = F.interpolate(lesion_B1SS, picture_B3FF.shape[2:], mode="bilinear", align_corners=False)
            picture_B3FF = torch.cat([picture_B3FF, lesion_B1FF], dim=1)
        views = [crop(picture_B3FF, box_B4, size, view_B23)]
        if self.with_whole:
            whole_B4 = box_B4.new_tensor([0.0, 0.0, 1.0, 1.0]).expand_as(box_B4)
            views.append(crop(picture_B3FF, whole_B4, size, view_B23))
        return torch.cat(views, dim=1)

    def forward(self, *views_BCSS: Tensor) -> TrainingOutput:
        """Training phase: each branch sees its view of one image of the pair."""
        outputs = [branch(views) for branch, views in zip(self.branches, views_BCSS, strict=True)]
        same_B = self.distinguish(*(output.features_BCHW for output in outputs)) if self.distinguish else None
        return TrainingOutput([output.logits_BK for output in outputs], same_B)

    def diagnose(self, views_BCSS: Tensor) -> list[BranchOutput]:
        """Test phase: both branches see the same image; a single or shared one answers as both."""
        if self.branches[0] is self.branches[-1]:
            return [self.branches[0](views_BCSS)] * NUM_BRANCHES
        return [branch(views_BCSS) for branch in self.branches]


def summed_probabilities(
    logits_BNK: Tensor, temperature_N: Tensor, log_prevalence_K: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The paper's test phase: the mean of the branches' probabilities ``[B, K]``, and those of each ``[B, 2, K]``.

    ``log_prevalence_K`` is added to the logits: the log of each class's prevalence relative to that of the weighted
    loss, up to a constant.
    """
    logits_BNK = logits_BNK.float() / temperature_N.view(1, -1, 1)
    if log_prevalence_K is not None:
        logits_BNK = logits_BNK + log_prevalence_K
    branch_BNK = torch.softmax(logits_BNK, dim=2)
    return branch_BNK.mean(dim=1), branch_BNK
