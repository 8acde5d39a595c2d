"""The Clinical-Inspired Network (paper, Fig. 1): two branches over the cropped images, and the distinguish module."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from model_training.network.distinguish import Distinguish, DistinguishNorm, Initialisation
from model_training.network.feature_extraction import FeatureExtraction, FeatureNetwork, StateDict, normalise
from model_training.network.lesion_feature_attention import AttentionForm, LesionFeatureAttention
from model_training.network.synergic import Synergic

NUM_BRANCHES = 2

ClassifierPooling = Literal["before", "between"]
ClassifierFeatures = Literal["last", "all"]
ClassifierStart = Literal["random", "regression"]


class BranchOutput(NamedTuple):
    """One branch on one batch; the maps are None without lesion feature attention."""

    logits_BK: Tensor
    features_BCHW: Tensor
    # Pooled features of the layers before those in ``features_BCHW``.
    early_BC: Tensor
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
        features: FeatureNetwork,
        attention: AttentionForm | None,
        attention_start: float,
        classifier_layers: Literal[1, 2],
        classifier_pooling: ClassifierPooling,
        classifier_features: ClassifierFeatures = "last",
        classifier_start: ClassifierStart = "random",
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.features = FeatureExtraction(features)
        channels = self.features.num_channels
        self.attention = LesionFeatureAttention(channels, attention, start=attention_start) if attention else None
        self.pooling = classifier_pooling
        self.uses_early, self.start = classifier_features == "all", classifier_start
        if self.uses_early:
            channels += self.features.num_early_channels
        standardised = self.uses_early or self.start == "regression"
        self.standardise = Standardise(channels) if standardised else None
        self.classify = nn.Sequential(nn.Linear(channels, num_classes))
        if classifier_layers == 2:
            self.classify = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_classes)
            )

    def forward(self, crop_B3SS: Tensor) -> BranchOutput:
        """Crops, values 0..1, to the logits of the classes and the attention maps behind them."""
        features, early_BC = self.features(normalise(crop_B3SS))
        spatial, correlation = None, None
        if self.attention is not None:
            features, spatial, correlation = self.attention(features)
        return BranchOutput(self.logits(features, early_BC), features, early_BC, spatial, correlation)

    def pooled(self, attended_BCHW: Tensor, early_BC: Tensor) -> Tensor:
        """The classifier's input before standardisation: the means of the earlier layers, then the mean of F_A."""
        mean_BC = attended_BCHW.mean(dim=(2, 3))
        return torch.cat([early_BC, mean_BC], dim=1) if self.uses_early else mean_BC

    def logits(self, attended_BCHW: Tensor, early_BC: Tensor) -> Tensor:
        """The classification of F_A, ``[B, K]``."""
        if self.pooling == "before":
            pooled_BC = self.pooled(attended_BCHW, early_BC)
            return self.classify(pooled_BC if self.standardise is None else self.standardise(pooled_BC))
        hidden_BMH = self.classify[:-1](attended_BCHW.flatten(2).transpose(1, 2))
        return self.classify[-1](hidden_BMH.mean(dim=1))


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
        features: FeatureNetwork = "resnet18",
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
    ) -> None:
        super().__init__()

        def branch() -> Branch:
            return Branch(
                num_classes=num_classes,
                features=features,
                attention=attention,
                attention_start=attention_start,
                classifier_layers=classifier_layers,
                classifier_pooling=classifier_pooling,
                classifier_features=classifier_features,
                classifier_start=classifier_start,
            )

        first = branch()
        seconds = {"separate": branch, "shared": lambda: first}
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

    def forward(self, *pictures_B3SS: Tensor) -> TrainingOutput:
        """Training phase: each branch sees one image of the pair."""
        outputs = [branch(picture) for branch, picture in zip(self.branches, pictures_B3SS, strict=True)]
        same_B = self.distinguish(*(output.features_BCHW for output in outputs)) if self.distinguish else None
        return TrainingOutput([output.logits_BK for output in outputs], same_B)

    def diagnose(self, crop_B3SS: Tensor) -> list[BranchOutput]:
        """Test phase: both branches see the same crop; a single or shared one answers as both."""
        if self.branches[0] is self.branches[-1]:
            return [self.branches[0](crop_B3SS)] * NUM_BRANCHES
        return [branch(crop_B3SS) for branch in self.branches]


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
