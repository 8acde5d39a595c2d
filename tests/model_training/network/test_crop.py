"""The smallest rectangle and the crop, on masks that go wrong elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model_training.network.crop import crop, open_mask, smallest_rectangle


def rectangle(mask: Tensor, *, opening: int = 1, margin: float = 0.0) -> tuple[list[float], float]:
    box, fraction = smallest_rectangle(mask.unsqueeze(0), threshold=0.5, opening=opening, margin=margin)
    return [round(v, 6) for v in box[0].tolist()], float(fraction[0])


def blank() -> Tensor:
    return torch.zeros(20, 40)


def test_empty_map_is_the_whole_picture_without_a_lesion() -> None:
    assert rectangle(blank()) == ([0.0, 0.0, 1.0, 1.0], 0.0)


def test_full_map_is_the_whole_picture_with_a_lesion() -> None:
    assert rectangle(torch.ones(20, 40), opening=5) == ([0.0, 0.0, 1.0, 1.0], 1.0)


def test_one_pixel() -> None:
    mask = blank()
    mask[3, 10] = 1
    assert rectangle(mask)[0] == [10 / 40, 3 / 20, 11 / 40, 4 / 20]
    assert rectangle(mask, opening=3) == ([0.0, 0.0, 1.0, 1.0], 0.0), "a speck is no lesion"


def test_the_rectangle_is_the_smallest_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = torch.from_numpy((rng.random((20, 40)) > 0.97).astype(np.float32))
        rows, columns = np.nonzero(mask.numpy())
        expected = [columns.min() / 40, rows.min() / 20, (columns.max() + 1) / 40, (rows.max() + 1) / 20]
        assert rectangle(mask)[0] == pytest.approx(expected)


def test_specks_beside_a_lesion_do_not_widen_the_rectangle() -> None:
    mask = blank()
    mask[5:15, 10:30] = 1
    mask[1, 1] = mask[18, 38] = 1
    assert rectangle(mask, opening=3)[0] == [10 / 40, 5 / 20, 30 / 40, 15 / 20]


def test_a_lesion_at_the_border_keeps_its_border() -> None:
    mask = blank()
    mask[:2, :2] = 1
    assert rectangle(mask, opening=3)[0] == [0.0, 0.0, 2 / 40, 2 / 20]


def test_the_margin_is_a_share_of_the_side_and_stays_in_the_picture() -> None:
    mask = blank()
    mask[0:10, 10:30] = 1
    assert rectangle(mask, margin=0.1)[0] == pytest.approx([8 / 40, 0.0, 32 / 40, 11 / 20])


def test_opening_is_erosion_then_dilation() -> None:
    mask = torch.zeros(1, 9, 9)
    mask[0, 2:7, 2:7] = 1
    mask[0, 4, 7] = 1  # a spur of width one
    opened = open_mask(mask, 3)
    expected = torch.zeros(1, 9, 9)
    expected[0, 2:7, 2:7] = 1
    assert torch.equal(opened, expected)


def test_cropping_the_whole_picture_is_the_identity() -> None:
    picture = torch.rand(2, 3, 16, 16)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(2, 4)
    torch.testing.assert_close(crop(picture, whole, 16), picture)


def test_a_crop_on_pixel_edges_is_that_part_of_the_picture() -> None:
    picture = torch.rand(1, 3, 16, 16)
    box = torch.tensor([[4 / 16, 8 / 16, 8 / 16, 12 / 16]])
    torch.testing.assert_close(crop(picture, box, 4), picture[:, :, 8:12, 4:8])


def test_a_crop_that_makes_smaller_is_the_mean_of_what_it_covers() -> None:
    fine = (torch.arange(64).view(1, 1, 1, 64) % 2).float().expand(1, 1, 64, 64)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert float((crop(fine, whole, 16) - 0.5).abs().max()) < 0.13, "stripes of one pixel are grey"
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bilinear")
    expected = torch.nn.functional.interpolate(smooth, (32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(crop(smooth, whole, 32), expected, atol=0.03, rtol=0)


def test_beyond_the_border_a_view_shows_no_streaks() -> None:
    stripes = (torch.arange(32).view(1, 1, 1, 32) % 4 < 2).float().expand(1, 1, 32, 32)
    whole, shifted = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    beyond = crop(stripes, whole, 32, shifted)[0, 0, :, 16:]
    torch.testing.assert_close(beyond, stripes[0, 0, :, 16:].flip(1))


def test_every_picture_of_a_batch_has_its_own_box() -> None:
    picture = torch.rand(2, 1, 8, 8)
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    cut = crop(picture, boxes, 4)
    torch.testing.assert_close(cut[0], picture[0, :, :4, :4])
    torch.testing.assert_close(cut[1], picture[1, :, 4:, 4:])


def test_a_view_turns_the_crop_in_the_same_interpolation() -> None:
    picture = torch.rand(1, 3, 16, 16)
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    mirror = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    torch.testing.assert_close(crop(picture, box, 8, mirror), picture[:, :, 4:12, 4:12].flip(3))
    quarter_turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    expected = torch.rot90(picture[:, :, 4:12, 4:12], 1, (2, 3))
    torch.testing.assert_close(crop(picture, box, 8, quarter_turn), expected)
