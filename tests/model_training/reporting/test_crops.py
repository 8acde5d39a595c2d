"""What a crop magnifies and removes, on squares of known size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_training.config import Config
from model_training.reporting.crops import crop_figures
from tests.model_training.small_runs import small_frames

# The side of each lesion in pixels of a frame of 32; the classes come in turn: the first ones are large.
SIDES = [16, 4, 8] * 4


def squares() -> np.ndarray:
    masks = np.zeros((12, 32, 32), dtype=np.uint8)
    for mask, side in zip(masks, SIDES, strict=True):
        mask[5 : 5 + side, 7 : 7 + side] = 255
    return masks


def config(margin: float) -> Config:
    return Config.model_validate({"network": {"size": 64, "area_size": 32, "crop_margin": margin}})


def test_sizes_are_those_of_the_squares() -> None:
    figures = crop_figures(replace(small_frames(), masks=squares()), config(0.0))
    large, small, medium = figures["classes"].values()
    assert large["lesion_size"]["p50"] == pytest.approx((16 / 32) ** 2)
    assert (large["auc_of_lesion_size"], small["auc_of_lesion_size"]) == (1.0, 0.0)
    assert medium["auc_of_lesion_size"] == 0.5, "larger than half of the others"
    assert figures["crop_side_pixels"]["p50"] == pytest.approx(8)
    assert figures["magnified"] == {
        "share": 1.0,
        "factor": pytest.approx({"p5": 4, "p25": 4, "p50": 8, "p75": 16, "p95": 16}),
    }


def test_the_margin_is_part_of_the_crop() -> None:
    figures = crop_figures(replace(small_frames(), masks=squares()), config(0.25))
    assert figures["crop_side_pixels"]["p50"] == pytest.approx(8 * 1.5)
    assert figures["classes"]["melanoma"]["lesion_size"]["p50"] == pytest.approx(0.25), (
        "the lesion's size has no margin"
    )


def test_a_class_that_is_not_there_has_no_figure() -> None:
    frames = replace(small_frames(), masks=squares(), labels=np.array([0, 2, 2] * 4))
    classes = crop_figures(frames, config(0.0))["classes"]
    assert classes["seborrheic_keratosis"] == {"num_pictures": 0, "auc_of_lesion_size": None, "lesion_size": {}}


def test_pictures_without_an_outline_are_left_out() -> None:
    frames = replace(small_frames(), masks=squares())
    some = crop_figures(replace(frames, has_mask=np.array(SIDES) == 16), config(0.0))
    assert some["num_outlines"] == 4
    assert some["crop_side_pixels"]["p5"] == pytest.approx(16)
    with pytest.raises(ValueError, match="no lesion outlines"):
        crop_figures(replace(frames, has_mask=np.zeros(12, dtype=np.bool_)), config(0.0))
