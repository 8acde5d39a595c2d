"""Where the tint of a map lies, and what its colours mean."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from service.attention.overlay import (
    EVIDENCE_LEVEL,
    FULL_SCALE,
    NO_EVIDENCE,
    AttentionMaps,
    MapKind,
    OverlayOptions,
    colour_table,
    render,
)
from tests.service.attention.maps import CAPTION, SIDE, SKIN, UNIFORM, cells, change, maps, spots


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
def test_a_map_of_the_crop_lands_in_the_box(kind: MapKind) -> None:
    moved = change(maps(), kind=kind, branch="1")
    tinted = cells(moved, "frame") > 0
    assert tinted[0, 0]
    assert not tinted[2:, 2:].any()
    height, width = moved.shape
    inside = np.zeros_like(moved, dtype=bool)
    inside[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = True
    assert moved[inside].max() > 100
    assert moved[:-CAPTION][~inside[:-CAPTION]].max() == 0


def test_the_lesion_map_covers_the_whole_picture() -> None:
    lesion = np.zeros((32, 32), dtype=np.uint8)
    lesion[:, :4] = 255  # left of the box
    moved = change(maps(lesion=lesion))
    assert moved[:-CAPTION, : moved.shape[1] // 10].min() > 100
    assert moved[:-CAPTION, moved.shape[1] // 5 :].max() == 0


def test_the_lesion_map_is_cut_with_the_crop() -> None:
    lesion = np.zeros((32, 32), dtype=np.uint8)
    lesion[8:16, 8:24] = 255  # the upper half of the box
    tinted = cells(change(maps(lesion=lesion), view="crop")) > 0
    np.testing.assert_array_equal(tinted, np.repeat([[True], [True], [False], [False]], SIDE, axis=1))


def corner_colour(*, corner: float, highest: float) -> NDArray[np.uint8]:
    """The colour of a spot with ``corner`` times the average, in a map with ``highest`` times the average elsewhere."""
    spatial = np.full((2, SIDE, SIDE), (SIDE**2 - corner - highest) / (SIDE**2 - 2), dtype=np.float32)
    spatial[:, 0, 0], spatial[:, 3, 3] = corner, highest
    return render(maps(spatial=spatial), OverlayOptions(kind="spatial", view="crop", opacity=1.0))[5, 5]


@pytest.mark.parametrize("corner", [1.1, 1.2, 1.3])
def test_the_colour_depends_on_the_value_alone(corner: float) -> None:
    strength = (corner - 1) / (FULL_SCALE["spatial"] - 1)
    mixed = np.array(SKIN) + np.sqrt(strength) * (colour_table()[round(strength * 255)] - np.array(SKIN))
    for highest in (3.0, 9.0):
        np.testing.assert_allclose(corner_colour(corner=corner, highest=highest), mixed, atol=1)


def test_each_branch_is_relative_to_its_own_average_in_the_crop() -> None:
    """A branch that sees the whole image may look elsewhere for the most part."""
    drawn = [maps(spatial=np.stack([spots((0, 0), share=0.2), much * spots((3, 3), share=0.2)])) for much in (1.0, 0.1)]
    pictures = [render(each, OverlayOptions(kind="spatial")) for each in drawn]
    np.testing.assert_allclose(pictures[0].astype(int), pictures[1].astype(int), atol=1)


def test_the_ends_of_the_scale() -> None:
    for at_most_average in (0.0, 0.5, 1.0):
        np.testing.assert_array_equal(corner_colour(corner=at_most_average, highest=4.0), SKIN)
    for beyond in (FULL_SCALE["spatial"], 2 * FULL_SCALE["spatial"]):
        np.testing.assert_array_equal(corner_colour(corner=beyond, highest=4.0), colour_table()[255])


@pytest.mark.parametrize("kind", get_args(MapKind))
def test_below_the_evidence_level_there_are_no_colours(kind: MapKind) -> None:
    level = EVIDENCE_LEVEL[kind]

    def with_highest(value: float) -> AttentionMaps:
        if kind == "lesion":
            return maps(lesion=np.full((32, 32), value * 255, dtype=np.uint8))
        values = spots((1, 1), share=value / SIDE**2)
        chosen = np.outer(UNIFORM, values) if kind == "correlation" else values
        return maps(**{kind: np.stack([chosen, chosen]).astype(np.float32)})

    assert change(with_highest(level * 1.02), kind=kind, view="crop").max() > 0
    assert change(with_highest(level * 0.98), kind=kind, view="crop").max() == 0


@pytest.mark.parametrize("kind", get_args(MapKind))
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_empty_map_is_said_to_be_empty(kind: MapKind, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = maps(lesion=np.zeros((32, 32), np.uint8), spatial=np.zeros((2, 4, 4), np.float32))
    empty = replace(empty, correlation=np.zeros((2, 16, 16), np.float16))
    said = render(empty, OverlayOptions(kind=kind))
    monkeypatch.setitem(NO_EVIDENCE, kind, "other words")
    assert (said[-CAPTION:] != render(empty, OverlayOptions(kind=kind))[-CAPTION:]).any()
    full = render(maps(), OverlayOptions(kind=kind))
    monkeypatch.setitem(NO_EVIDENCE, kind, "still other words")
    np.testing.assert_array_equal(full, render(maps(), OverlayOptions(kind=kind)))
