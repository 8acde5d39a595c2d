"""Out-of-distribution score: the distance of a picture's features from the Gaussian of the training pictures'.

The features are the pooled features of both branches; their square roots are nearly normal. The covariance keeps the
leading principal components and is isotropic in all other directions (probabilistic PCA), so that a few thousand
pictures are enough for a thousand features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]  # [..., 2, C]: both branches' pooled features
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureDistance:
    """The Gaussian: D features of both branches together, K principal components."""

    mean_D: Scores
    components_KD: Scores
    variances_K: Scores
    other_variance: float

    def of(self, features: Features) -> Scores:
        """The Mahalanobis distance of features ``[..., 2, C]`` over sqrt(D): about 1 for training pictures.

        Infinite for features so large that their squares overflow.
        """
        difference_ND = _flat(features) - self.mean_D
        along_NK = difference_ND @ self.components_KD.T
        other_N = np.maximum(0.0, (difference_ND**2).sum(axis=-1) - (along_NK**2).sum(axis=-1))
        squared_N = (along_NK**2 / self.variances_K).sum(axis=-1) + other_N / self.other_variance
        return np.sqrt(squared_N / len(self.mean_D))  # type: ignore[no-any-return]

    def save(self, path: Path) -> None:
        """Write the arrays in float32, as an ``.npz`` that holds no pickle."""
        np.savez(
            path,
            mean=self.mean_D.astype(np.float32),
            components=self.components_KD.astype(np.float32),
            variances=self.variances_K.astype(np.float32),
            other_variance=np.float32(self.other_variance),
        )


def read_feature_distance(path: Path) -> FeatureDistance:
    """Read a file that :meth:`FeatureDistance.save` wrote. Raises ``ValueError`` or ``KeyError`` for other files."""
    with np.load(path, allow_pickle=False) as arrays:
        return FeatureDistance(
            mean_D=arrays["mean"].astype(np.float64),
            components_KD=arrays["components"].astype(np.float64),
            variances_K=arrays["variances"].astype(np.float64),
            other_variance=float(arrays["other_variance"]),
        )


def fit_feature_distance(features: Features, *, num_components: int) -> FeatureDistance:
    """The Gaussian of the features ``[N, 2, C]`` of training pictures; at most N / 4 components."""
    values_ND = _flat(features)
    num, dimensions = values_ND.shape
    kept = max(1, min(num_components, num // 4, dimensions // 4))
    mean_D = values_ND.mean(axis=0)
    _, singular, directions = np.linalg.svd(values_ND - mean_D, full_matrices=False)
    variances = singular**2 / num
    # A feature that is constant in training would give every other value an infinite distance.
    floor = np.finfo(np.float32).eps
    return FeatureDistance(
        mean_D=mean_D,
        components_KD=directions[:kept],
        variances_K=np.maximum(variances[:kept], floor),
        other_variance=float(max(variances[kept:].sum() / (dimensions - kept), floor)),
    )


def _flat(features: Features) -> Scores:
    values = np.sqrt(np.maximum(features, 0.0, dtype=np.float64))
    return values.reshape(*values.shape[:-2], -1)
