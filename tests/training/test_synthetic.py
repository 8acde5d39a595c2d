"""The synthetic pictures: seeded, labelled by the lesion alone, and learnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_training.data.isic import CLASSES_2017, read_set
from model_training.data.synthetic import synthesise, write_isic2017


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
    def mean_colours(inside: bool) -> dict[str, np.ndarray]:
        colours = {}
        for diagnosis in CLASSES_2017:
            values = []
            for seed in range(30):
                drawn = synthesise(diagnosis, 48, np.random.default_rng(seed))
                values.append(drawn.pixels[(drawn.mask > 0) == inside].mean(axis=0))
            colours[diagnosis] = np.mean(values, axis=0)
        return colours

    lesion, skin = mean_colours(True), mean_colours(False)
    for a, b in (("melanoma", "nevus"), ("nevus", "seborrheic_keratosis")):
        assert np.abs(lesion[a] - lesion[b]).max() > 20
        assert np.abs(skin[a] - skin[b]).max() < 10


def test_the_tree_has_the_official_layout(tmp_path: Path) -> None:
    write_isic2017(tmp_path, size=32, train=7, validation=3, test=4, seed=5)
    for name, count in (("isic2017-train", 7), ("isic2017-validation", 3), ("isic2017-test", 4)):
        pictures = read_set(tmp_path, name)
        assert len(pictures.samples) == count
        assert {s.label for s in pictures.samples} == {0, 1, 2}
