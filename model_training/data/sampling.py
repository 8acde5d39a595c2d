"""Batches of images for the first stage, and batches of pairs for the two branches.

Every draw is a function of (seed, epoch), so a resumed run gets the same batches as an uninterrupted one, and all
processes of a distributed run compute the same ones.
"""

from __future__ import annotations

import numpy as np

from model_training.arrays import Indices


def epoch_order(num_pictures: int, *, seed: int, epoch: int, stream: int = 0) -> Indices:
    """A permutation of the images, ``[N]``; ``stream`` selects one of several independent orders."""
    return np.random.default_rng((seed, epoch, stream)).permutation(num_pictures)


def random_batches(num_pictures: int, batch_size: int, *, seed: int, epoch: int) -> list[Indices]:
    """Every image once, in batches ``[1, batch]``; the last one is dropped when it is not full."""
    return _batches(epoch_order(num_pictures, seed=seed, epoch=epoch)[None], batch_size)


def random_pair_batches(num_pictures: int, batch_size: int, *, seed: int, epoch: int) -> list[Indices]:
    """Random pairs in batches ``[2, batch]``; each branch gets every image at most once in an epoch.

    A last batch that is not full is dropped: 16 of ISIC 2017's 2,000 images at batch 32, different ones each epoch.
    An image may be paired with itself, in one of N pairs, which is negligible.
    """
    first = epoch_order(num_pictures, seed=seed, epoch=epoch, stream=0)
    second = epoch_order(num_pictures, seed=seed, epoch=epoch, stream=1)
    return _batches(np.stack([first, second]), batch_size)


def random_pairs(num_images: int, num_pairs: int, *, seed: int) -> Indices:
    """Pairs ``[2, num_pairs]`` of different images."""
    rng = np.random.default_rng(seed)
    first = rng.integers(num_images, size=num_pairs)
    return np.stack([first, (first + rng.integers(1, num_images, size=num_pairs)) % num_images])


def balanced_pair_batches(labels_N: Indices, batch_size: int, *, seed: int, epoch: int) -> list[Indices]:
    """Pairs in batches ``[2, batch]``, every other one of the same class; branch 1 gets each image at most once.

    The partner is drawn from all images of the same class, or from all of the other classes. Raises ``ValueError``
    when there is only one class.
    """
    if len(np.unique(labels_N)) < 2:
        raise ValueError("balanced pairs need two classes; set recognition.pairs = 'random'")
    first = epoch_order(len(labels_N), seed=seed, epoch=epoch, stream=0)
    rng = np.random.default_rng((seed, epoch, 1))
    same = np.arange(len(first)) % 2 == 0
    second = np.empty_like(first)
    for label in np.unique(labels_N):
        for wanted in (True, False):
            places = np.flatnonzero((labels_N[first] == label) & (same == wanted))
            second[places] = rng.choice(np.flatnonzero((labels_N == label) == wanted), size=len(places))
    return _batches(np.stack([first, second]), batch_size)


def _batches(order: Indices, batch_size: int) -> list[Indices]:
    num_full = order.shape[1] // batch_size
    if num_full == 0:
        return [order]
    return [order[:, i * batch_size : (i + 1) * batch_size] for i in range(num_full)]
