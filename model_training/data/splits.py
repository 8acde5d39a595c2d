"""Splits of a training set into training and validation images: cross-validation folds, or a random share.

Splits are stratified by class; images of one group (a patient, a lesion) or with identical pixels stay on the same
side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from model_training.arrays import Indices
from model_training.config import NUM_FOLDS
from model_training.data.frames import FrameSet, picture_digests
from model_training.data.pictures import DatasetError
from model_training.data.sets import Sets
from service.bundle import DiagnosisClass

# Independent of the run's seed, so that all configurations use the same folds.
FOLD_SEED = 2017


def training_parts(sets: Sets, frames: Callable[[str], FrameSet], *, seed: int) -> tuple[FrameSet, FrameSet]:
    """The training set and the validation set, which is its own set or a held-out part of the training set.

    ``frames`` gives the prepared set of a name, ``seed`` draws a share. Raises :class:`DatasetError` for a validation
    set with other classes, and for own images on which a network cannot be trained, or its threshold chosen.
    """
    data, diagnoses = sets.data, sets.classes(sets.data.train)
    if data.fold is not None:
        train, validation = hold_out_fold(frames(data.train), data.fold)
    elif data.holdout is not None:
        train, validation = hold_out_share(frames(data.train), data.holdout, seed=seed)
    elif sets.classes(data.validation) != diagnoses:
        raise DatasetError(
            f"{data.validation} has other classes than {data.train}; set data.validation, or hold out a part of it: "
            "--set data.holdout=0.2"
        )
    else:
        train, validation = frames(data.train), frames(data.validation)
    if data.is_own(data.train):
        _check_learnt(train, diagnoses)
        check_outcomes(validation, diagnoses)
    return train, validation


def _check_learnt(train: FrameSet, diagnoses: Sequence[DiagnosisClass]) -> None:
    """Raise :class:`DatasetError` for a class without a training image."""
    if missing := [each.name for k, each in enumerate(diagnoses) if k not in train.labels]:
        raise DatasetError(
            f"{train.name} has no image of {', '.join(missing)}: add images, of several groups, or hold out less"
        )


def check_outcomes(pictures: FrameSet, diagnoses: Sequence[DiagnosisClass]) -> None:
    """Raise :class:`DatasetError` for a set on which no threshold can be chosen or measured: one without malignant, or
    without benign images.
    """
    roles = {diagnoses[k].role for k in pictures.labels}
    for role in ("malignant", "benign"):
        if role not in roles:
            raise DatasetError(f"{pictures.name} has no image of a {role} class: add some, or hold out more")


def folds_of(pictures: FrameSet, num_folds: int = NUM_FOLDS) -> Indices:
    """The fold, from 0, that holds out each image, ``[N]``."""
    place_N, _ = shuffled_places(pictures.labels, kept_together(pictures), seed=FOLD_SEED)
    return place_N % num_folds


def hold_out_fold(pictures: FrameSet, fold: int, num_folds: int = NUM_FOLDS) -> tuple[FrameSet, FrameSet]:
    """The images outside fold number ``fold`` (from 0), and those of the fold."""
    return _split(pictures, folds_of(pictures, num_folds) == fold, f"fold {fold + 1} of {num_folds}")


def hold_out_share(pictures: FrameSet, share: float, *, seed: int) -> tuple[FrameSet, FrameSet]:
    """The images outside a random ``share`` of every class, and those of the share."""
    place_N, class_size_N = shuffled_places(pictures.labels, kept_together(pictures), seed=seed)
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


def kept_together(pictures: FrameSet) -> Indices:
    """For each image the index of the first one that it is never split from, ``[N]``."""
    first_N = equal_pictures(pictures.frames)
    if pictures.groups is None:
        return first_N
    first: dict[str, int] = {}
    of_group_N = [i if group is None else first.setdefault(group, i) for i, group in enumerate(pictures.groups)]
    # Copies of one image may link two groups.
    every_N = np.arange(len(first_N))
    links = np.concatenate([first_N, of_group_N]), np.tile(every_N, 2)
    graph = coo_array((np.ones(2 * len(every_N)), links), shape=(len(every_N), len(every_N)))
    component_N = connected_components(graph, directed=False)[1]
    return np.unique(component_N, return_index=True)[1][component_N]


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
        groups=None if pictures.groups is None else tuple(np.array(pictures.groups, dtype=object)[chosen_N]),
    )
