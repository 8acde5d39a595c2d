"""What the branches are shown together."""

from __future__ import annotations

import numpy as np
import pytest

from model_training.data.sampling import balanced_pair_batches, random_pair_batches, random_pairs

# The class counts of ISIC 2017 train.
LABELS = np.repeat([0, 1, 2], [374, 254, 1372])


def same_share(batches: list[np.ndarray]) -> float:
    pairs = np.concatenate(batches, axis=1)
    return float((LABELS[pairs[0]] == LABELS[pairs[1]]).mean())


def test_judged_pairs_are_of_different_images() -> None:
    pairs = random_pairs(5, 1000, seed=0)
    assert (pairs[0] != pairs[1]).all()
    assert set(pairs.ravel()) == set(range(5))


def test_random_pairs_match_as_often_as_chance_has_it() -> None:
    shares = [same_share(random_pair_batches(2000, 32, seed=0, epoch=epoch)) for epoch in range(10)]
    expected = sum((n / 2000) ** 2 for n in (374, 254, 1372))
    assert np.mean(shares) == pytest.approx(expected, abs=0.02)
    assert expected == pytest.approx(0.52, abs=0.005)


def test_balanced_pairs_match_every_other_time_in_every_batch() -> None:
    batches = balanced_pair_batches(LABELS, 32, seed=0, epoch=0)
    assert len(batches) == 62
    for first, second in batches:
        assert (LABELS[first] == LABELS[second]).sum() == 16
    first = np.concatenate(batches, axis=1)[0]
    assert len(set(first.tolist())) == len(first), "the first branch meets every image once"


def test_balanced_pairs_are_a_function_of_seed_and_epoch() -> None:
    def draw(seed: int, epoch: int) -> np.ndarray:
        return np.concatenate(balanced_pair_batches(LABELS, 32, seed=seed, epoch=epoch), axis=1)

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    assert (draw(1, 2) != draw(1, 3)).any()
    assert (draw(1, 2) != draw(2, 2)).any()


def test_partners_are_drawn_among_all_pictures_that_fit() -> None:
    partners = np.concatenate([b[1] for e in range(20) for b in balanced_pair_batches(LABELS, 32, seed=0, epoch=e)])
    assert len(set(partners.tolist())) > 1990


def test_one_class_cannot_be_balanced() -> None:
    with pytest.raises(ValueError, match="two classes"):
        balanced_pair_batches(np.zeros(10, dtype=np.int64), 4, seed=0, epoch=0)
