"""Plain skin with attention that is known, and what is seen of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.attention.overlay import AttentionMaps, OverlayOptions, View, render

SKIN = (205, 160, 140)
SIDE = 4
WIDTH, HEIGHT = 1536, 1024  # twice the size at which the image is drawn
BOX = (0.25, 0.25, 0.75, 0.75)
CAPTION = 60  # rows at the bottom that the caption may take


def spots(*bright: tuple[int, int], share: float = 1.0) -> NDArray[np.float32]:
    """A map ``[SIDE, SIDE]`` that sums to 1, of which ``bright`` (row, column) hold ``share``."""
    values = np.full((SIDE, SIDE), (1 - share) / (SIDE * SIDE - len(bright)), dtype=np.float32)
    for spot in bright:
        values[spot] = share / len(bright)
    return values


UNIFORM = np.full((SIDE, SIDE), 1 / SIDE**2, dtype=np.float32)


def maps(**changes: Any) -> AttentionMaps:
    """Plain skin with a lesion in the middle; each branch attends to one corner of the crop."""
    lesion = np.zeros((32, 32), dtype=np.uint8)
    lesion[8:24, 8:24] = 255
    pairs = np.stack([np.outer(UNIFORM, spots((0, 0))), np.outer(UNIFORM, spots((3, 3)))])
    plain = AttentionMaps(
        frame=np.full((64, 64, 3), SKIN, dtype=np.uint8),
        width=WIDTH,
        height=HEIGHT,
        crop_box=np.array(BOX, dtype=np.float32),
        lesion=lesion,
        spatial=np.stack([spots((0, 0)), spots((3, 3))]),
        correlation=pairs.astype(np.float32),
    )
    return replace(plain, **changes)


def change(drawn: AttentionMaps, **options: Any) -> NDArray[np.int_]:
    """How far the tint moves each pixel ``[height, width]``: the image against itself with opacity 0."""
    tinted, plain = (render(drawn, OverlayOptions(**{**options, "opacity": o})).astype(int) for o in (1.0, 0.0))
    return np.abs(tinted - plain).sum(axis=2)


def cells(values: NDArray[np.int_], view: View = "crop") -> NDArray[np.float64]:
    """Mean of the middle of each spot ``[SIDE, SIDE]``."""
    height, width = values.shape
    x0, y0, x1, y1 = (0.0, 0.0, 1.0, 1.0) if view == "crop" else BOX
    means = np.zeros((SIDE, SIDE))
    for row, column in np.ndindex(SIDE, SIDE):
        y = int(height * (y0 + (y1 - y0) * (row + 0.5) / SIDE))
        x = int(width * (x0 + (x1 - x0) * (column + 0.5) / SIDE))
        means[row, column] = values[y - 3 : y + 3, x - 3 : x + 3].mean()
    return means
