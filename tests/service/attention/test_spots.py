"""Correlation attention: what one spot relates to, and all of them together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.attention.overlay import AttentionMaps, MapKind, OverlayError, OverlayOptions, View, render
from tests.service.attention.maps import BOX, HEIGHT, SIDE, WIDTH, cells, change, maps, spots


def related(partners: dict[tuple[int, int], tuple[int, int]]) -> AttentionMaps:
    """Correlation attention in which each spot relates to its partner, and no other spot to any."""
    matrix = np.zeros((SIDE, SIDE, SIDE, SIDE), dtype=np.float32)
    for spot, partner in partners.items():
        matrix[spot][partner] = 1 / len(partners)
    flat = matrix.reshape(SIDE**2, SIDE**2)
    return maps(correlation=np.stack([flat, flat]))


@pytest.mark.parametrize("view", ["frame", "crop"])
@pytest.mark.parametrize(("spot", "partner"), [((0, 1), (2, 2)), ((1, 3), (0, 0)), ((2, 0), (1, 1))])
def test_a_spot_shows_what_it_relates_to(view: View, spot: tuple[int, int], partner: tuple[int, int]) -> None:
    drawn = related({(0, 1): (2, 2), (1, 3): (0, 0), (2, 0): (1, 1)})
    x = WIDTH * (BOX[0] + (BOX[2] - BOX[0]) * (spot[1] + 0.5) / SIDE)
    y = HEIGHT * (BOX[1] + (BOX[3] - BOX[1]) * (spot[0] + 0.5) / SIDE)
    moved = cells(change(drawn, kind="correlation", view=view, spot=(x, y)), view)
    assert divmod(int(moved.argmax()), moved.shape[1]) == partner
    assert moved[spot] < moved[partner]


def test_a_spot_that_relates_to_nothing_shows_nothing() -> None:
    drawn = related({(0, 0): (3, 3)})
    matrix = drawn.correlation
    assert matrix is not None
    matrix[:, 5] = 1e-7 * spots((0, 3)).ravel()  # its largest partner is still next to nothing
    spot = (WIDTH * (BOX[0] + 0.5 * 1.5 / SIDE), HEIGHT * (BOX[1] + 0.5 * 1.5 / SIDE))
    assert change(drawn, kind="correlation", spot=spot).max() == 0


def test_without_a_spot_the_columns_are_summed() -> None:
    drawn = related({(0, 1): (2, 2), (1, 3): (2, 2), (2, 0): (1, 1)})
    moved = cells(change(drawn, kind="correlation", view="crop"))
    assert set(zip(*np.nonzero(moved > 50), strict=True)) == {(2, 2), (1, 1)}


@pytest.mark.parametrize(("rows_sum_to_one", "dtype"), [(False, np.float16), (True, np.float32)])
def test_half_precision_and_softmax_by_row_look_the_same(rows_sum_to_one: bool, dtype: type) -> None:
    matrix = np.random.default_rng(0).gamma(0.2, size=(16, 16))
    matrix[:, 4] += 1
    matrix /= matrix.sum(axis=1, keepdims=True)
    pairs = np.stack([matrix, matrix])
    expected = render(maps(correlation=pairs / 16), OverlayOptions(kind="correlation")).astype(int)
    other: NDArray[Any] = (pairs if rows_sum_to_one else pairs / 16).astype(dtype)
    shown = render(maps(correlation=other), OverlayOptions(kind="correlation")).astype(int)
    assert np.abs(shown - expected).max() <= 2


def test_the_spot_is_marked() -> None:
    options = OverlayOptions(kind="correlation", view="crop", opacity=0.0)
    plain = render(maps(), options)
    marked = render(maps(), replace(options, spot=(WIDTH * 0.5, HEIGHT * 0.375)))
    rows, columns = np.nonzero((plain != marked).any(axis=2))
    height, width = plain.shape[:2]
    assert (rows.min() + rows.max()) / 2 == pytest.approx(height * 0.25, abs=2)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(width * 0.5, abs=2)
    assert {(0, 0, 0), (255, 255, 255)} <= {tuple(c) for c in marked[rows, columns].tolist()}


@pytest.mark.parametrize(
    "spot", [(383.0, 500.0), (1153.0, 500.0), (700.0, 255.0), (700.0, 769.0), (5000.0, 5000.0), (-1.0, 500.0)]
)
def test_a_spot_outside_the_crop_box(spot: tuple[float, float]) -> None:
    with pytest.raises(OverlayError, match="x must be 384 to 1152, y 256 to 768"):
        render(maps(), OverlayOptions(kind="correlation", spot=spot))


@pytest.mark.parametrize("spot", [(384.0, 256.0), (1152.0, 768.0)])
def test_the_edges_of_the_crop_box_belong_to_it(spot: tuple[float, float]) -> None:
    assert render(maps(), OverlayOptions(kind="correlation", spot=spot)).any()


@pytest.mark.parametrize("kind", ["lesion", "spatial"])
def test_only_correlation_attention_has_spots(kind: MapKind) -> None:
    with pytest.raises(OverlayError, match="map=correlation"):
        render(maps(), OverlayOptions(kind=kind, spot=(700.0, 500.0)))
