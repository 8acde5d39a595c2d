"""A regression that changed copies may not move is moved less by changes of new images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model_training.network.backbones import make_stages
from model_training.studies.control_report import control_table
from model_training.studies.regression_control import (
    CHANGES,
    COPIES,
    RECIPES,
    TURNS,
    ChangedFeatures,
    changed_features,
    regression_control,
)
from model_training.training.pretrained import Pretrained
from tests.model_training.narrow import WIDTHS
from tests.model_training.small_runs import small_frames

NUM_IMAGES, CHANNELS = 300, 8
LABELS = np.arange(NUM_IMAGES) % 3
HELD_OUT = np.arange(NUM_IMAGES) >= 200


def features() -> ChangedFeatures:
    """All but the last feature tell the classes apart; changes move the first half."""
    rng = np.random.default_rng(0)
    own = (rng.normal(size=(NUM_IMAGES, CHANNELS)) + LABELS[:, None]).astype(np.float32)

    def moved(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        shift = np.zeros((*shape, CHANNELS), dtype=np.float32)
        shift[..., : CHANNELS // 2] = 3 * rng.normal(size=(*shape, CHANNELS // 2))
        return shift

    return {
        TURNS: np.repeat(own[:, None], 4, axis=1),
        COPIES: own[:, None] + moved(NUM_IMAGES, 4),
        **{name: own + moved(NUM_IMAGES) for name in CHANGES},
    }


def test_the_penalty_on_variation_makes_the_answer_steady() -> None:
    found = features()
    turns, copies, steady = (
        regression_control(found, LABELS, HELD_OUT, RECIPES[recipe])
        for recipe in ("turns-0.01", "copies-0.01-0", "copies-0.01-1")
    )
    for change in CHANGES:
        assert copies[f"p moves: {change}"] < 0.6 * turns[f"p moves: {change}"]
        assert steady[f"p moves: {change}"] < 0.3 * copies[f"p moves: {change}"]
        assert steady[f"auc: {change}"] > turns[f"auc: {change}"] + 0.02
    assert steady["mean_auc"] > 0.8


def test_variation_that_no_copy_shows_is_not_found() -> None:
    found = {**features(), COPIES: features()[TURNS]}
    steady = regression_control(found, LABELS, HELD_OUT, RECIPES["copies-0.01-1"])
    turns = regression_control(found, LABELS, HELD_OUT, RECIPES["turns-0.01"])
    assert steady["p moves: JPEG 60"] == pytest.approx(turns["p moves: JPEG 60"], rel=0.05)


def test_features_are_computed_once(tmp_path: Path) -> None:
    frames = small_frames(6)
    boxes = torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(6, 1)
    pretrained = Pretrained("random", make_stages().state_dict())
    found = changed_features(frames, boxes, pretrained, size=64, cache=tmp_path)
    assert found[TURNS].shape == found[COPIES].shape == (6, 4, sum(WIDTHS))
    assert all(found[name].shape == (6, sum(WIDTHS)) for name in CHANGES)
    assert not np.allclose(found["JPEG 60"], found[TURNS][:, 0])
    (folder,) = tmp_path.iterdir()
    np.save(folder / "JPEG 60.npy", np.zeros((6, sum(WIDTHS)), dtype=np.float32))
    again = changed_features(frames, boxes, pretrained, size=64, cache=tmp_path)
    assert not again["JPEG 60"].any()
    np.testing.assert_array_equal(again["WebP 80"], found["WebP 80"])


def test_the_table_has_a_column_for_every_change() -> None:
    figures = regression_control(features(), LABELS, HELD_OUT, RECIPES["turns-0.1"])
    assert all(
        change in control_table("regression", {"turns-0.1/crop-layer4/fold-1/seed-0": figures}) for change in CHANGES
    )
