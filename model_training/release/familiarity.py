"""Fit the out-of-distribution score and its limit: the distance from the training images, and from photographs.

Half of the images that the Gaussian is fitted to are copies with artefacts: a ring, hairs or a strong compression do
not make an image less dermoscopic. Clinical photographs give a direction, and other dermoscopy a limit in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Frames, Indices, Scores
from model_training.data.artefacts import changed_frames, random_artefacts
from service.bundle import FeatureDistance, fit_feature_distance, fit_photographs

NUM_COMPONENTS = 128
NUM_FOLDS = 5

# Of the training images and their copies, the share beyond the limit.
DISTANT_SHARE = 0.005
# Of other dermoscopy, the share at most that lies as far towards clinical photographs as the limit.
OTHER_DERMOSCOPY_SHARE = 0.02

Features = NDArray[np.float32]


class Photographs(NamedTuple):
    """Clinical photographs, and dermoscopy that should not be taken for them."""

    clinical: Frames
    dermoscopy: Frames | None

    def described(self) -> str:
        """The sets and their sizes, as the model card names them."""
        other = "" if self.dermoscopy is None else f", other dermoscopy ({len(self.dermoscopy)})"
        return f"clinical photographs ({len(self.clinical)}){other}"


class Familiarity(NamedTuple):
    """The score, and the limit beyond which an image is not taken for dermoscopy."""

    distance: FeatureDistance
    limit: float


def fit_familiarity(
    features_of: Callable[[Frames], Features],
    frames: Frames,
    groups_N: Indices,
    *,
    jpeg_quality: int | None,
    photographs: Photographs | None,
) -> Familiarity:
    """Fit both to training images; those with the same number in ``groups_N`` are in one fold.

    ``features_of`` gives the features ``[N, 2, C]`` of frames; copies are compressed with ``jpeg_quality`` as all are.
    """
    changed = changed_frames(frames, random_artefacts, jpeg_quality=jpeg_quality)
    features_M2C = np.concatenate([features_of(frames), features_of(changed)])
    distance = fit_feature_distance(features_M2C, num_components=NUM_COMPONENTS)
    distance_M = cross_fitted_distances(features_M2C, np.tile(groups_N, 2))
    limit = float(np.quantile(distance_M, 1 - DISTANT_SHARE))
    if photographs is not None:
        other = None if photographs.dermoscopy is None else features_of(photographs.dermoscopy)
        distance = fit_photographs(
            distance,
            features_M2C,
            features_of(photographs.clinical),
            limit=limit,
            share=DISTANT_SHARE,
            other=other,
            other_share=OTHER_DERMOSCOPY_SHARE,
        )
    return Familiarity(distance, limit)


def cross_fitted_distances(features_N2C: Features, groups_N: Indices | None = None) -> Scores:
    """The distance ``[N]`` of each image's features from a Gaussian fitted to the other folds.

    Images with the same number in ``groups_N`` are in one fold.
    """
    group_N = np.arange(len(features_N2C)) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
    fold_N = (np.random.default_rng(0).permutation(group_N.max() + 1) % NUM_FOLDS)[group_N]
    distance_N = np.empty(len(features_N2C))
    for fold in range(NUM_FOLDS):
        gaussian = fit_feature_distance(features_N2C[fold_N != fold], num_components=NUM_COMPONENTS)
        distance_N[fold_N == fold] = gaussian.of(features_N2C[fold_N == fold])
    return distance_N
