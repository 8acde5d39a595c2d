"""Out-of-distribution score: the distance of an image's features from the Gaussian of the training images'.

The features are the pooled features of both branches; their square roots are nearly normal. The covariance keeps the
leading principal components and is isotropic in all other directions (probabilistic PCA), so a few thousand images
suffice for a thousand features.

Clinical photographs of the skin are no further away than dermoscopy, but they lie in one direction. Where a bundle
knows it, the score is the larger of the distance and of how far the image lies in that direction.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle.base import BundleError

Features = NDArray[np.float32]  # [..., 2, C]: both branches' pooled features
Scores = NDArray[np.float64]

# Added to the correlations of the features before the photographs' direction is computed.
RIDGE = 1.0

# The components are stored in float32.
_ORTHONORMAL = 1e-3


@dataclass(frozen=True)
class FeatureDistance:
    """The Gaussian: D features of both branches together, K principal components."""

    mean_D: Scores
    components_KD: Scores
    variances_K: Scores
    other_variance: float
    # Towards clinical photographs, in the distance's scale: both have one limit.
    photographs_D: Scores | None = None

    def of(self, features: Features) -> Scores:
        """The Mahalanobis distance of features ``[..., 2, C]`` over sqrt(D): about 1 for training images.

        With a direction towards clinical photographs, the larger of the two scores. Infinite when the squares of the
        features overflow.
        """
        difference_ND = _flat(features) - self.mean_D
        along_NK = difference_ND @ self.components_KD.T
        other_N = np.maximum(0.0, (difference_ND**2).sum(axis=-1) - (along_NK**2).sum(axis=-1))
        squared_N = (along_NK**2 / self.variances_K).sum(axis=-1) + other_N / self.other_variance
        distance_N: Scores = np.sqrt(squared_N / len(self.mean_D))
        if self.photographs_D is None:
            return distance_N
        return np.maximum(distance_N, difference_ND @ self.photographs_D)

    def save(self, path: Path) -> None:
        """Write the arrays in float32, as an ``.npz`` that holds no pickle."""
        direction: dict[str, Any] = (
            {} if self.photographs_D is None else {"photographs": self.photographs_D.astype(np.float32)}
        )
        np.savez(
            path,
            mean=self.mean_D.astype(np.float32),
            components=self.components_KD.astype(np.float32),
            variances=self.variances_K.astype(np.float32),
            other_variance=np.float32(self.other_variance),
            **direction,
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
    photographs_D = arrays["photographs"].astype(np.float64) if "photographs" in arrays else None
    if photographs_D is not None and photographs_D.shape != mean_D.shape:
        raise _damaged(path, "has a direction towards photographs whose shape does not fit")
    return FeatureDistance(mean_D, components_KD, variances_K, float(other_variance), photographs_D)


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


def fit_photographs(
    distance: FeatureDistance,
    features: Features,
    photographs: Features,
    *,
    limit: float,
    share: float,
    other: Features | None = None,
    other_share: float = 0.0,
) -> FeatureDistance:
    """``distance`` with the direction from the training images' features towards those of clinical photographs.

    Fisher's linear discriminant, with the covariance of the training images and a ridge; a dozen photographs suffice.
    Its scale is such that at most ``share`` of the training images, and ``other_share`` of ``other`` dermoscopy, score
    above ``limit``. Raises ValueError for photographs in no direction of their own, as of training images alone.
    """
    centred_ND, photographs_PD = (_flat(found) - distance.mean_D for found in (features, photographs))
    deviation_D = centred_ND.std(axis=0) + np.finfo(np.float32).eps
    covariance_DD = np.cov((centred_ND / deviation_D).T) + RIDGE * np.eye(len(deviation_D))
    towards_D = (photographs_PD.mean(axis=0) - centred_ND.mean(axis=0)) / deviation_D
    direction_D = np.linalg.solve(covariance_DD, towards_D) / deviation_D
    highest = np.quantile(centred_ND @ direction_D, 1 - share)
    if other is not None:
        highest = max(highest, np.quantile((_flat(other) - distance.mean_D) @ direction_D, 1 - other_share))
    if not highest > 0.0:
        raise ValueError("the clinical photographs do not differ from the training images")
    return replace(distance, photographs_D=direction_D * (limit / highest))


def _flat(features: Features) -> Scores:
    values = np.sqrt(np.maximum(features, 0.0, dtype=np.float64))
    return values.reshape(*values.shape[:-2], -1)
