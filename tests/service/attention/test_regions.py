"""Where the maps of two branches lie when the second one saw the whole image and the first one the crop."""

from __future__ import annotations

import numpy as np
import pytest

from service.attention.maps import BranchChoice, MapKind, OverlayError
from service.attention.overlay import OverlayOptions, at_cell, map_values
from service.prediction.attention_summary import summarise
from tests.service.attention.maps import CAPTION, HEIGHT, SIDE, UNIFORM, WIDTH, change, maps, spots

# A corner of the image outside the crop, which begins at a quarter of each side.
CORNER = np.s_[: HEIGHT // 2 // 4 - 8, : WIDTH // 2 // 4 - 8]


@pytest.mark.parametrize("kind", ["spatial", "correlation"])
@pytest.mark.parametrize(("branch", "whole", "beyond"), [("2", True, True), ("2", False, False), ("1", True, False)])
def test_a_branch_is_drawn_over_what_it_saw(kind: MapKind, branch: BranchChoice, whole: bool, beyond: bool) -> None:
    pairs = np.outer(UNIFORM, spots((0, 0)))
    drawn = maps(
        spatial=np.stack([spots((0, 0))] * 2),
        correlation=np.stack([pairs, pairs]).astype(np.float32),
        second_saw_whole=whole,
    )
    assert bool(change(drawn, kind=kind, branch=branch)[CORNER].max() > 100) is beyond
    summary = summarise(drawn, OverlayOptions(kind=kind, branch=branch))
    assert summary.region == ("picture" if beyond else "crop")
    at = 1 / 8 if beyond else 1 / 4 + 1 / 16
    assert (summary.peaks[0].x, summary.peaks[0].y) == (at * WIDTH, at * HEIGHT)


def test_both_together_are_what_both_say_of_the_crop() -> None:
    """The crop is the middle half of each side: of four spots of the whole image the two in the middle."""
    drawn = maps(spatial=np.stack([UNIFORM, spots((1, 2))]).astype(np.float32), second_saw_whole=True)
    values, region = map_values(drawn, OverlayOptions(kind="spatial"))
    assert region == drawn.box
    row, column = divmod(int(values.argmax()), SIDE)
    assert row < SIDE / 2 <= column
    assert values[SIDE - 1].min() == pytest.approx(0.5)  # the first branch's alone
    outside = maps(spatial=np.stack([UNIFORM, spots((0, 3))]).astype(np.float32), second_saw_whole=True)
    assert change(outside, kind="spatial")[:-CAPTION][CORNER].max() == 0


def test_a_spot_is_found_in_the_map_of_each_branch() -> None:
    matrix = np.zeros((SIDE, SIDE, SIDE, SIDE), dtype=np.float32)
    matrix[0, 0, 3, 3] = 1.0  # of the whole image: its first spot relates to its last
    flat = matrix.reshape(SIDE**2, SIDE**2)
    drawn = maps(correlation=np.stack([np.full_like(flat, 1 / flat.size), flat]), second_saw_whole=True)
    chosen = OverlayOptions(kind="correlation", branch="2", spot=(WIDTH / 10, HEIGHT / 10))
    values, _ = map_values(drawn, chosen)
    assert divmod(int(values.argmax()), SIDE) == (3, 3)
    assert at_cell(drawn, chosen).spot == (WIDTH / 8, HEIGHT / 8)
    with pytest.raises(OverlayError, match="outside the crop box"):
        map_values(drawn, OverlayOptions(kind="correlation", branch="mean", spot=(WIDTH / 10, HEIGHT / 10)))
