"""The control of a second backbone and of a teacher: they help with what they see, and only with that."""

from __future__ import annotations

import numpy as np
import pytest

from model_training.studies.teacher_control import RECIPES, TeacherRecipe, teacher_control

RNG = np.random.default_rng(0)
LABELS, FOLDS = np.arange(300) % 3, RNG.permutation(np.arange(300) % 5)
NOISE = RNG.normal(size=(300, 6)).astype(np.float32)
SIGNAL = NOISE + 2 * np.repeat(np.eye(3, dtype=np.float32)[LABELS], 2, axis=1)


def auc(branches: tuple[list[np.ndarray], list[np.ndarray]], recipe: TeacherRecipe) -> float:
    return teacher_control(branches, LABELS, FOLDS, 0, recipe)["mean_auc"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_only_branches_that_see_the_class_tell_it(recipe: str) -> None:
    blind = ([NOISE, NOISE], [SIGNAL, SIGNAL])
    knows = 1 in RECIPES[recipe].backbones
    assert (auc(blind, RECIPES[recipe]) > 0.8) == knows, "a teacher cannot give what the features do not hold"
    assert auc((blind[1], blind[1]), RECIPES[recipe]) > 0.9


def test_a_teacher_alone_mends_wrong_labels() -> None:
    """With half of the labels drawn at random, what a teacher says of the images is worth more than they are."""
    rng = np.random.default_rng(1)
    wrong = np.where((rng.random(300) < 0.6) & (FOLDS != 0), rng.integers(3, size=300), LABELS)
    weak = SIGNAL[:, ::2] + rng.normal(size=(300, 3)).astype(np.float32)
    padded = np.concatenate([weak, rng.normal(size=(300, 60)).astype(np.float32)], axis=1)
    by = {
        share: teacher_control(([padded], [SIGNAL]), wrong, FOLDS, 0, TeacherRecipe((0,), (1,), share))["mean_auc"]
        for share in (0.0, 1.0)
    }
    assert by[1.0] > by[0.0]
