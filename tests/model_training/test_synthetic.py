"""The synthetic images: seeded, labelled by the lesion alone, and learnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_training.data.isic import CLASSES_2017, read_set
from tests.synthetic import synthesise, write_isic2016, write_isic2017


def test_the_seed_decides() -> None:
    first, second, other = (synthesise("melanoma", 64, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("diagnosis", CLASSES_2017)
def test_a_lesion_lies_inside_the_picture(diagnosis: str) -> None:
    for seed in range(10):
        picture = synthesise(diagnosis, 64, np.random.default_rng(seed))
        assert picture.pixels.shape == (64, 64, 3)
        assert set(np.unique(picture.mask)) == {0, 255}
        assert 0.03 < (picture.mask > 0).mean() < 0.6
        assert not picture.mask[0].any()


def test_the_class_shows_in_the_lesion_and_not_beside_it() -> None:
    labels = np.arange(150) % 3
    rng = np.random.default_rng(0)
    drawn = [synthesise(CLASSES_2017[k], 48, rng) for k in labels]

    def accuracy(*, inside: bool) -> float:
        """Of a linear classifier that sees mean and spread of the colours on one side of the lesion's border."""
        sides = [p.pixels[(p.mask > 0) == inside] for p in drawn]
        features = np.array([[*pixels.mean(axis=0), *pixels.std(axis=0)] for pixels in sides])
        classifier = make_pipeline(StandardScaler(), LogisticRegression())
        return float(cross_val_score(classifier, features, labels, cv=5).mean())

    assert accuracy(inside=True) > 0.95
    assert accuracy(inside=False) < 0.5, "a third is chance"


def test_the_tree_has_the_official_layout(tmp_path: Path) -> None:
    write_isic2017(tmp_path, size=32, train=7, validation=3, test=4, seed=5)
    for name, count in (("isic2017-train", 7), ("isic2017-validation", 3), ("isic2017-test", 4)):
        pictures = read_set(tmp_path, name)
        assert len(pictures.samples) == count
        assert {s.label for s in pictures.samples} == {0, 1, 2}


def test_the_tree_of_2016_has_the_official_layout(tmp_path: Path) -> None:
    write_isic2016(tmp_path, size=32, train=5, test=4, seed=5)
    train, test = (read_set(tmp_path, name) for name in ("isic2016-train", "isic2016-test"))
    assert [sample.label for sample in train.samples] == [1, 0, 1, 0, 1]
    assert [sample.label for sample in test.samples] == [1, 0, 1, 0]
    assert not {sample.id for sample in train.samples} & {sample.id for sample in test.samples}
