"""The figures of the modules, on maps and scores whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from model_training.evaluation.module_figures import (
    central_importance,
    deletion_insertion,
    effective_columns,
    effective_number,
    effective_rows,
    mean_interval,
    probability_change,
    random_importance,
    row_spread,
    shuffled,
)


def test_probability_change_is_the_mean_over_images_and_classes() -> None:
    with_module = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    without = torch.tensor([[0.4, 0.4, 0.2], [1.0, 0.0, 0.0]])
    assert probability_change(with_module, without) == pytest.approx(0.2 / 6)


@pytest.mark.parametrize(("mass", "number"), [([1, 1, 1, 1], 4), ([0, 7, 0, 0], 1), ([2, 2, 0, 0], 2)])
def test_effective_number_counts_equal_masses(mass: list[float], number: float) -> None:
    assert effective_number(torch.tensor([mass]).float()).item() == pytest.approx(number)


def test_a_map_of_one_column_has_one_effective_column_and_equal_rows() -> None:
    one_cell = torch.zeros(1, 49, 49)
    one_cell[:, :, 17] = 1 / 49
    assert effective_columns(one_cell).item() == pytest.approx(1)
    assert effective_rows(one_cell).item() == pytest.approx(49)
    assert row_spread(one_cell).item() == pytest.approx(0)


def test_the_identity_relates_every_position_to_another() -> None:
    identity = torch.eye(49)[None] / 49
    assert effective_columns(identity).item() == pytest.approx(49)
    assert row_spread(identity).item() == pytest.approx(1 - 1 / 49)


def test_row_spread_is_that_of_the_pattern_and_not_of_the_rows_mass() -> None:
    pattern, mass = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.9, 0.06, 0.04])
    assert row_spread((mass[:, None] * pattern)[None]).item() == pytest.approx(0, abs=1e-6)
    two = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]])
    assert row_spread(two).item() == pytest.approx(0.5)


def test_mean_interval_is_student_s() -> None:
    found = mean_interval(torch.tensor([1.0, 2.0, 3.0]))
    assert found.mean == pytest.approx(2)
    # t(0.975, 2) = 4.3027
    assert found.high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)
    assert found.low == pytest.approx(4 - found.high)
    with pytest.raises(ValueError, match="two images"):
        mean_interval(torch.tensor([1.0]))


def _sees_one_cell(image_BCHW: Tensor) -> Tensor:
    """A score that rests on the upper left quarter alone."""
    return image_BCHW[:, 0, :4, :4].mean(dim=(1, 2))


def test_deletion_and_insertion_of_a_map_that_names_the_cell() -> None:
    image, blank = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    right = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    found = deletion_insertion(_sees_one_cell, image, blank, right, num_steps=4)
    # 1, 0, 0, 0, 0 and 0, 1, 1, 1, 1 at the shares 0, 1/4, ..., 1.
    assert found.deletion_B.item() == pytest.approx(0.125)
    assert found.insertion_B.item() == pytest.approx(0.875)
    wrong = deletion_insertion(_sees_one_cell, image, blank, -right, num_steps=4)
    assert wrong.deletion_B.item() == pytest.approx(0.875)
    assert wrong.insertion_B.item() == pytest.approx(0.125)


def test_each_image_has_its_own_order() -> None:
    image, blank = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    maps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]])
    found = deletion_insertion(_sees_one_cell, image, blank, maps, num_steps=4)
    torch.testing.assert_close(found.deletion_B, torch.tensor([0.125, 0.875], dtype=torch.float64))


def test_a_faithful_map_beats_chance_and_its_shuffled_self_does_not() -> None:
    generator = torch.Generator().manual_seed(1)
    num, side = 200, 7
    weights = torch.rand(num, side, side, generator=generator) ** 4

    def score(image_BCHW: Tensor) -> Tensor:
        return (image_BCHW[:, 0] * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))

    image, blank = torch.ones(num, 1, side, side), torch.zeros(num, 1, side, side)

    def gain(importance: Tensor) -> float:
        chance = deletion_insertion(score, image, blank, random_importance(num, side, generator), num_steps=7)
        named = deletion_insertion(score, image, blank, importance, num_steps=7)
        return mean_interval(chance.deletion_B - named.deletion_B).low

    assert gain(weights) > 0.2
    assert gain(shuffled(weights, generator)) < 0


def test_shuffling_keeps_the_values() -> None:
    importance = random_importance(3, 7, torch.Generator().manual_seed(0))
    other = shuffled(importance, torch.Generator().manual_seed(1))
    assert not torch.equal(importance, other)
    torch.testing.assert_close(importance.flatten(1).sort().values, other.flatten(1).sort().values)


def test_the_central_map_falls_off_evenly() -> None:
    importance = central_importance(1, 7)[0]
    assert importance.argmax().item() == 24
    torch.testing.assert_close(importance, importance.T)
    torch.testing.assert_close(importance, importance.flip(0))
