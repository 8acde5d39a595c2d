"""Splits of a training set into training and validation images: cross-validation folds, or a random share.

Splits are stratified by class; images with identical pixels stay on the same side.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Indices
from model_training.config import NUM_FOLDS
from model_training.data.frames import FrameSet, picture_digests

# Independent of the run's seed, so that all configurations use the same folds.
FOLD_SEED = 2017


def folds_of(pictures: FrameSet, num_folds: int = NUM_FOLDS) -> Indices:
    """The fold, from 0, that holds out each image, ``[N]``."""
    place_N, _ = shuffled_places(pictures.labels, equal_pictures(pictures.frames), seed=FOLD_SEED)
    return place_N % num_folds


def hold_out_fold(pictures: FrameSet, fold: int, num_folds: int = NUM_FOLDS) -> tuple[FrameSet, FrameSet]:
    """The images outside fold number ``fold`` (from 0), and those of the fold."""
    return _split(pictures, folds_of(pictures, num_folds) == fold, f"fold {fold + 1} of {num_folds}")


def hold_out_share(pictures: FrameSet, share: float, *, seed: int) -> tuple[FrameSet, FrameSet]:
    """The images outside a random ``share`` of every class, and those of the share."""
    place_N, class_size_N = shuffled_places(pictures.labels, equal_pictures(pictures.frames), seed=seed)
    return _split(pictures, place_N < np.round(share * class_size_N), f"{share:.0%} by seed {seed}")


def without_pictures_of(pictures: FrameSet, others: FrameSet) -> FrameSet:
    """The images that are not in ``others``, compared by id and by pixels."""
    digests = set(picture_digests(others.frames))
    pairs = zip(pictures.ids, picture_digests(pictures.frames), strict=True)
    kept_N = np.array([id not in others.ids and digest not in digests for id, digest in pairs])
    return _part(pictures, kept_N, f"without {others.name}")


def shuffled_places(labels_N: Indices, groups_N: Indices, *, seed: int) -> tuple[Indices, Indices]:
    """The position of each image's group in a random order of its class, ``[N]``, and the class's number of groups.

    A group with several classes belongs to that of its first image.
    """
    rng = np.random.default_rng(seed)
    leaders = np.unique(groups_N)
    place, class_size = np.zeros_like(groups_N), np.zeros_like(groups_N)
    for label in np.unique(labels_N[leaders]):
        members = rng.permutation(leaders[labels_N[leaders] == label])
        place[members], class_size[members] = np.arange(len(members)), len(members)
    return place[groups_N], class_size[groups_N]


def equal_pictures(frames_NFF3: NDArray[np.uint8]) -> Indices:
    """For each frame the index of the first one with the same pixels, ``[N]``."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(digest, i) for i, digest in enumerate(picture_digests(frames_NFF3))])


def _split(pictures: FrameSet, held_out_N: NDArray[np.bool_], what: str) -> tuple[FrameSet, FrameSet]:
    return _part(pictures, ~held_out_N, f"without {what}"), _part(pictures, held_out_N, what)


def _part(pictures: FrameSet, chosen_N: NDArray[np.bool_], what: str) -> FrameSet:
    """The chosen images, copied into memory."""
    ids = tuple(id for id, chosen in zip(pictures.ids, chosen_N, strict=True) if chosen)
    return replace(
        pictures,
        name=f"{pictures.name} ({what})",
        digest=hashlib.sha256(f"{pictures.digest} {ids}".encode()).hexdigest(),
        ids=ids,
        frames=pictures.frames[chosen_N],
        masks=pictures.masks[chosen_N],
        has_mask=pictures.has_mask[chosen_N],
        labels=pictures.labels[chosen_N],
    )
