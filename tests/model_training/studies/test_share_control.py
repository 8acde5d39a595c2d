"""The control of D's share in the loss: without a share D learns nothing, and hard pairs are hard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model_training.studies.share_control import RECIPES, hard_pairs, share_control

RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=240)
HELD_OUT = np.arange(240) % 4 == 0


def features() -> NDArray[np.float16]:
    """Maps ``[N, 12, 3, 3]`` in which each class has four brighter channels, with noise."""
    bright = np.repeat(np.eye(3)[LABELS], 4, axis=1)[:, :, None, None]
    noise = np.random.default_rng(1).normal(size=(240, 12, 3, 3))
    return np.abs(bright + 0.3 * noise).astype(np.float16)


@pytest.mark.parametrize(("recipe", "learns"), [("lambda-1", True), ("lambda-0", False)])
def test_d_learns_by_its_share_of_the_loss(recipe: str, learns: bool) -> None:
    views = (features(), features())
    longer = replace(RECIPES[recipe], epochs=10)
    figures = share_control(views, LABELS, HELD_OUT, longer, seed=0, num_pairs=400)
    assert (figures["pair_auc"] > 0.8) == learns
    assert figures["mean_auc"] > 0.9  # the classes are easy, with D or without


def test_hard_pairs_are_alike_across_classes_and_unlike_within() -> None:
    means = features().astype(np.float32).mean(axis=(2, 3))
    pairs = hard_pairs(means, LABELS, seed=0, epoch=0)
    same = np.equal(*LABELS[pairs])
    assert same.tolist() == [i % 2 == 0 for i in range(240)]
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    likeness = (units[pairs[0]] * units[pairs[1]]).sum(axis=1)
    within = LABELS[:, None] == LABELS
    of_all = units @ units.T
    assert likeness[same].mean() < np.median(of_all[within])
    assert likeness[~same].mean() > np.median(of_all[~within])
