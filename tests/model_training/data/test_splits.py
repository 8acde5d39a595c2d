"""Parts of a training set that stand in for a validation set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_training.data.frames import FrameSet
from model_training.data.splits import folds_of, hold_out_fold, hold_out_share, without_pictures_of
from tests.model_training.small_runs import small_frames


@pytest.fixture(scope="module")
def pictures() -> FrameSet:
    """Sixty images, 10 of one class and 50 of another; four are equal to the first four."""
    frames = small_frames(60, 16)
    pixels = frames.frames.copy()
    pixels[54:58] = pixels[:4]
    labels = np.array([0 if i % 6 == 5 else 1 for i in range(60)])
    return replace(frames, frames=pixels, labels=labels)


def test_folds_are_disjoint_cover_the_set_and_keep_the_classes(pictures: FrameSet) -> None:
    held = [hold_out_fold(pictures, fold) for fold in range(5)]
    assert sorted(id for _, part in held for id in part.ids) == sorted(pictures.ids)
    for rest, part in held:
        assert not set(rest.ids) & set(part.ids)
        assert len(rest) + len(part) == 60
        assert int((part.labels == 0).sum()) == 2
    assert len({part.digest for parts in held for part in parts}) == 10


def test_a_share_is_drawn_by_the_seed(pictures: FrameSet) -> None:
    rest, part = hold_out_share(pictures, 0.2, seed=0)
    assert (rest.labels == 0).sum() == 8
    assert (part.labels == 0).sum() == 2
    assert abs(len(part) - 12) <= 2
    assert hold_out_share(pictures, 0.2, seed=0)[1].ids == part.ids
    assert hold_out_share(pictures, 0.2, seed=1)[1].ids != part.ids


@pytest.mark.parametrize("fold", range(5))
def test_equal_pictures_stay_on_one_side(pictures: FrameSet, fold: int) -> None:
    held_out = set(hold_out_fold(pictures, fold)[1].ids)
    for i in range(4):
        assert (pictures.ids[i] in held_out) == (pictures.ids[54 + i] in held_out)


def test_a_part_holds_the_pictures_of_its_ids(pictures: FrameSet) -> None:
    _, part = hold_out_fold(pictures, 2)
    for row, id in enumerate(part.ids):
        whole = pictures.ids.index(id)
        np.testing.assert_array_equal(part.frames[row], pictures.frames[whole])
        np.testing.assert_array_equal(part.masks[row], pictures.masks[whole])
        assert part.labels[row] == pictures.labels[whole]
    assert "fold 3 of 5" in part.name


def test_the_pictures_of_another_set_are_left_out_by_id_and_by_pixels(pictures: FrameSet) -> None:
    part = hold_out_fold(pictures, 0, 3)[1]
    renamed = replace(part, ids=tuple(f"other-{id}" for id in part.ids))
    for others in (part, renamed):
        rest = without_pictures_of(pictures, others)
        assert set(rest.ids) == set(pictures.ids) - set(part.ids)


def test_folds_of_names_the_fold_that_holds_a_picture_out(pictures: FrameSet) -> None:
    for fold in range(3):
        held_out = [id for id, of in zip(pictures.ids, folds_of(pictures, 3), strict=True) if of == fold]
        assert tuple(held_out) == hold_out_fold(pictures, fold, 3)[1].ids
