"""Out-of-distribution score: the distance of an image's features from the Gaussian of the training images'.

The features are the pooled features of both branches; their square roots are nearly normal. The covariance keeps the
leading principal components and is isotropic in all other directions (probabilistic PCA), so a few thousand images
suffice for a thousand features.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle.base import BundleError

Features = NDArray[np.float32]  # [..., 2, C]: both branches' pooled features
Scores = NDArray[np.float64]

# The components are stored in float32.
_ORTHONORMAL = 1e-3


@dataclass(frozen=True)
class FeatureDistance:
    """The Gaussian: D features of both branches together, K principal components."""

    mean_D: Scores
    components_KD: Scores
    variances_K: Scores
    other_variance: float

    def of(self, features: Features) -> Scores:
        """The Mahalanobis distance of features ``[..., 2, C]`` over sqrt(D): about 1 for training images.

        Infinite when the squares of the features overflow.
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
    """Read a file that :meth:`FeatureDistance.save` wrote.

    Raises :class:`BundleError` for any other file, and for an unusable Gaussian: an array of the wrong shape, a number
    that is not finite, a variance that is not positive, principal components that are not orthonormal.
    """
    arrays = read_arrays(path)
    try:
        mean_D, components_KD, variances_K, other_variance = (
            arrays[name].astype(np.float64) for name in ("mean", "components", "variances", "other_variance")
        )
    except KeyError as error:
        raise _damaged(path, f"has no {error}") from error
    if mean_D.ndim != 1 or components_KD.shape != (len(variances_K), len(mean_D)) or other_variance.shape != ():
        raise _damaged(path, "has arrays whose shapes do not fit together")
    if not np.abs(components_KD @ components_KD.T - np.eye(len(components_KD))).max() < _ORTHONORMAL:
        raise _damaged(path, "has components that are not orthonormal")
    if not (variances_K > 0.0).all() or not other_variance > 0.0:
        raise _damaged(path, "has variances that are not positive")
    return FeatureDistance(mean_D, components_KD, variances_K, float(other_variance))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file without pickles. Raises :class:`BundleError`, also when a number is not finite."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise _damaged(path, f"is not a readable .npz file ({error})") from error
    for name, array in arrays.items():
        if not (np.issubdtype(array.dtype, np.number) and np.isfinite(array).all()):
            raise _damaged(path, f"has numbers in {name} that are not finite")
    return arrays


def _damaged(path: Path, fault: str) -> BundleError:
    return BundleError(f"{path.name} {fault}; copy the bundle again from where it was exported")


def fit_feature_distance(features: Features, *, num_components: int) -> FeatureDistance:
    """Fit the Gaussian to the features ``[N, 2, C]`` of training images, with at most N / 4 components."""
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
