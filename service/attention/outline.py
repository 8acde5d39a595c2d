"""Regions of an attention map as polygons; pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

Ring = NDArray[np.float64]  # [corners, 2], x and y

# More crossings of the level than this times the sum of the sides are noise; outlining them would take seconds.
_MOST_CROSSINGS = 32
# Directions in which a ring is measured, over half a turn.
_NUM_ANGLES = 180


def contours(values: NDArray[Any], level: float) -> list[Ring]:
    """Where a map crosses ``level``, as closed polygons in fractions of the map's sides (marching squares).

    Values are at cell centres. Regions are closed along the edges of the map. With y pointing down, rings run clockwise
    around regions of at least ``level`` and counter-clockwise around holes. Noise gives an empty list.
    """
    above = values >= level
    crossings = np.count_nonzero(above[1:] != above[:-1]) + np.count_nonzero(above[:, 1:] != above[:, :-1])
    if crossings > _MOST_CROSSINGS * sum(values.shape):
        return []
    below = np.nextafter(level, -np.inf)  # contourpy counts a value equal to the level as below it
    padded = np.pad(values.astype(np.float64), 1, constant_values=below)
    lines = contour_generator(z=padded, name="serial", line_type=LineType.Separate).lines(below)
    height, width = values.shape
    # The padding shifts everything by one cell; the middle of a cell is half a cell from its corner.
    return [np.clip((np.asarray(line)[:-1] - 0.5) / (width, height), 0.0, 1.0) for line in lines]


def diameters(ring: Ring) -> tuple[float, float]:
    """The longest diameter of a ring and its width across that, in the ring's unit; within 1 of 20,000."""
    angles = np.arange(_NUM_ANGLES) * (np.pi / _NUM_ANGLES)
    extents = np.ptp(ring @ np.array([np.cos(angles), np.sin(angles)]), axis=0)
    longest = int(extents.argmax())
    return float(extents[longest]), float(extents[(longest + _NUM_ANGLES // 2) % _NUM_ANGLES])


def signed_area(ring: Ring) -> float:
    """The area inside a ring of :func:`contours`, in squares of its unit; negative for a hole."""
    x, y = ring.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
