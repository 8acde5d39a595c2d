"""Lesion feature attention module (paper, section 2, Fig. 3): spatial (Eqn 1) and correlation (Eqn 2) attention, Eqn 3.

Shape suffixes: B batch, C channels, K reduced channels, H and W the feature map's sides, M = H * W.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AttentionForm = Literal["stabilised", "literal", "row", "cosine"]

# Keeps an all-zero map finite.
EPSILON = 1e-6
# Of the "cosine" form. A row's largest weight is at most exp(2 * 2) = 55 times the smallest, so its effective number of
# positions is at least nine of 49: docs/modules.md.
SHARPNESS = 2.0


class AttendedFeatures(NamedTuple):
    """The module's outputs: F_A of Eqn 3, Q of Eqn 1 and P of Eqn 2 (both before any gain)."""

    features_BCHW: Tensor
    spatial_BCHW: Tensor
    correlation_BMM: Tensor


def spatial_normalisation(x_BCHW: Tensor) -> Tensor:
    """Eqn 1: each channel's map divided by its sum over H x W; a map of zeros stays zero."""
    return x_BCHW / (x_BCHW.sum(dim=(2, 3), keepdim=True) + EPSILON)


def correlation_normalisation(query_BMK: Tensor, key_BMK: Tensor, form: AttentionForm) -> Tensor:
    """Eqn 2: the softmax of the products of all positions with all positions, ``[B, M, M]``.

    ``literal``: over the whole matrix, as printed. ``stabilised``: the same on products scaled by 1/sqrt(K), without
    which a single entry takes all the weight. ``row``: each row by itself, scaled, as in other self-attention.
    ``cosine``: each row, on products of vectors of unit length, which are bounded, so that no position can take all.
    """
    scale = {"literal": 1.0, "cosine": SHARPNESS}.get(form, query_BMK.shape[2] ** -0.5)
    # float32 also under autocast: the products overflow half precision.
    with torch.autocast(query_BMK.device.type, enabled=False):
        query_BMK, key_BMK = query_BMK.float(), key_BMK.float()
        if form == "cosine":
            query_BMK, key_BMK = F.normalize(query_BMK, dim=2), F.normalize(key_BMK, dim=2)
        energy_BMM = (query_BMK * scale) @ key_BMK.transpose(1, 2)
        if form in ("row", "cosine"):
            return energy_BMM.softmax(dim=2)
        return energy_BMM.flatten(1).softmax(dim=1).view_as(energy_BMM)


class SpatialAttention(nn.Module):
    """One 1x1 and two 3x3 convolutions, a ReLU, and Eqn 1: features to Q, ``[B, C, H, W]`` each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = channels // 4
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, reduced, 1),
            nn.Conv2d(reduced, reduced, 3, padding=1),
            nn.Conv2d(reduced, channels, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Q of Eqn 1; every channel's map that is not all zero sums to one."""
        return spatial_normalisation(self.convolutions(features_BCHW).float())


class CorrelationAttention(nn.Module):
    """Two branches of a 1x1 and a 3x3 convolution, and Eqn 2: features to P, ``[B, M, M]``."""

    def __init__(self, channels: int, form: AttentionForm) -> None:
        super().__init__()
        reduced = channels // 8
        self.form = form
        self.query = nn.Sequential(nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, reduced, 3, padding=1))
        self.key = nn.Sequential(nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, reduced, 3, padding=1))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """P of Eqn 2; the whole matrix (``row``, ``cosine``: each row) sums to one."""
        query_BMK = self.query(features_BCHW).flatten(2).transpose(1, 2)
        key_BMK = self.key(features_BCHW).flatten(2).transpose(1, 2)
        return correlation_normalisation(query_BMK, key_BMK, self.form)


class LesionFeatureAttention(nn.Module):
    """F_A = alpha (Q . F) + beta (P * F) + F (Eqn 3); alpha and beta are learnt, with initial value ``start``.

    At zero the block starts as the identity, and its convolutions learn from the second step.
    The ``stabilised`` form multiplies Q . F by H x W and P * F by M: Q and P sum to one over that many entries, so
    without the gain both terms are about a hundredth of F. ``row`` and ``cosine`` need a gain for Q only.
    """

    def __init__(self, channels: int, form: AttentionForm, *, start: float = 0.0) -> None:
        super().__init__()
        self.form = form
        self.spatial = SpatialAttention(channels)
        self.correlation = CorrelationAttention(channels, form)
        self.alpha = nn.Parameter(torch.tensor(start))
        self.beta = nn.Parameter(torch.tensor(start))

    def forward(self, features_BCHW: Tensor) -> AttendedFeatures:
        """Attended features in the input's shape, with the two attention maps."""
        num_positions = features_BCHW.shape[2] * features_BCHW.shape[3]
        spatial_gain = 1 if self.form == "literal" else num_positions
        correlation_gain = num_positions if self.form == "stabilised" else 1
        spatial_BCHW = self.spatial(features_BCHW)
        correlation_BMM = self.correlation(features_BCHW)
        features_BMC = features_BCHW.float().flatten(2).transpose(1, 2)
        related_BCHW = (correlation_BMM @ features_BMC).transpose(1, 2).reshape(features_BCHW.shape)
        attended = (
            self.alpha * spatial_gain * (spatial_BCHW * features_BCHW)
            + self.beta * correlation_gain * related_BCHW
            + features_BCHW
        )
        return AttendedFeatures(attended, spatial_BCHW, correlation_BMM)
