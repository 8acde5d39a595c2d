"""An attention map in figures and as an outline; pure functions."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from service.attention.outline import contours
from service.attention.overlay import (
    EVIDENCE_LEVEL,
    AttentionMaps,
    BranchChoice,
    Map,
    MapKind,
    OverlayOptions,
    is_evident,
    map_values,
)
from service.prediction.schemas import Body, Share

# The value at which the tint starts: 0, or the average.
_FLOOR = {"lesion": 0.0, "spatial": 1.0, "correlation": 1.0}


class Point(Body):
    """A point of the upright image, in pixels; fractions are kept."""

    x: float = Field(description="px from the left")
    y: float = Field(description="px from the top")


Place = Literal["upper_left", "top", "upper_right", "left", "middle", "right", "lower_left", "bottom", "lower_right"]
# Row by row, as a grid of three by three.
_PLACES: tuple[Place, ...] = get_args(Place)

_MOST_PEAKS = 3
# Of the highest value: a lower peak is not named beside it.
_LEAST_OF_HIGHEST = 0.5
# A spot with at most this share of lesion is outside it, with at least the rest inside.
_BESIDE = 0.1


class Peak(Point):
    """A spot at which a map is higher than around it."""

    value: float = Field(description="how many times the average")
    lesion: Literal["inside", "edge", "outside"] | None = Field(
        description="where the spot is to the lesion's outline; null: no lesion was found"
    )
    place: Place = Field(description="where it is in the rectangle around the lesion, or without one in the region")


class AttentionSummary(Body):
    """An attention map in figures, for screen readers and for drawing."""

    map: MapKind = Field(description="which map")
    branch: BranchChoice = Field(description="whose map")
    region: Literal["picture", "crop"] = Field(description="what the map covers, and `share` is a share of")
    peak: float = Field(description="highest value; `lesion`: 0 to 1, otherwise how many times the average")
    evidence_level: float = Field(description="what the peak must reach for the map to be drawn")
    evident: bool = Field(description="whether the peak reaches it")
    share: Share = Field(description="part of the region at or above the evidence level")
    centre: Point | None = Field(description="centre of what is drawn, weighted by its value; null without evidence")
    peaks: list[Peak] = Field(
        [], description="at most three highest spots that reach the evidence level, highest first; none for `lesion`"
    )
    outline: list[list[Point]] = Field(
        description="`lesion`: where attention crosses the evidence level, as closed polygons; clockwise around the "
        "lesion, the other way round around its holes. Empty for the other maps"
    )


def summarise(maps: AttentionMaps, options: OverlayOptions) -> AttentionSummary:
    """How much of a map reaches its evidence level, and where; uses kind, branch and spot of ``options``.

    Raises :class:`MissingMap` or :class:`OverlayError` as :func:`service.attention.overlay.render` does.
    """
    values, (left, top, right, bottom) = map_values(maps, options)
    level = EVIDENCE_LEVEL[options.kind]
    evident = is_evident(values, options.kind)
    scale = np.array([(right - left) * maps.width, (bottom - top) * maps.height])
    origin = np.array([left * maps.width, top * maps.height])
    rings = contours(values, level) if options.kind == "lesion" else []
    return AttentionSummary(
        map=options.kind,
        branch=options.branch,
        region="picture" if options.kind == "lesion" else "crop",
        peak=round(float(values.max()), 3),
        evidence_level=level,
        evident=evident,
        share=round(float((values >= level).mean()), 4),
        centre=_point(_centre(values, _FLOOR[options.kind]) * scale + origin) if evident else None,
        peaks=_peaks(maps, values, options) if evident and options.kind != "lesion" else [],
        outline=[[_point(corner) for corner in ring * scale + origin] for ring in rings],
    )


def _centre(values: Map, floor: float) -> NDArray[np.float64]:
    """The centroid of the values above ``floor``, weighted by the excess, as fractions x and y."""
    excess = np.clip(values.astype(np.float64) - floor, 0.0, None)
    height, width = values.shape
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    total = excess.sum()
    return np.array([(excess.sum(axis=0) * x).sum() / total, (excess.sum(axis=1) * y).sum() / total])


def _peaks(maps: AttentionMaps, values: Map, options: OverlayOptions) -> list[Peak]:
    """The highest spots, with their place in the lesion's rectangle."""
    x0, y0, x1, y1 = map(float, maps.crop_box)
    rows, columns = values.shape
    lesion = maps.lesion / 255.0 >= EVIDENCE_LEVEL["lesion"]
    rectangle = _rectangle(lesion) if lesion.any() else (x0, y0, x1, y1)
    found = []
    for row, column in _highest(values, EVIDENCE_LEVEL[options.kind]):
        left, right = (x0 + (x1 - x0) * (column + edge) / columns for edge in (0, 1))
        top, bottom = (y0 + (y1 - y0) * (row + edge) / rows for edge in (0, 1))
        x, y = (left + right) / 2, (top + bottom) / 2
        found.append(
            Peak(
                x=round(x * maps.width, 1),
                y=round(y * maps.height, 1),
                value=round(float(values[row, column]), 3),
                lesion=_relation(lesion, (left, top, right, bottom)) if lesion.any() else None,
                place=_PLACES[3 * _third(y, rectangle[1], rectangle[3]) + _third(x, rectangle[0], rectangle[2])],
            )
        )
    return found


def _highest(values: Map, level: float) -> list[tuple[int, int]]:
    """Row and column of the spots that are higher than their neighbours, highest first; of equal ones the first."""
    ranks = np.empty(values.size)
    ranks[np.argsort(-values, axis=None, kind="stable")] = -np.arange(values.size)
    grid = ranks.reshape(values.shape)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(grid, 1, constant_values=-np.inf), (3, 3))
    least = max(level, _LEAST_OF_HIGHEST * float(values.max()))
    spots = np.argwhere((grid == around.max(axis=(2, 3))) & (values >= least))
    return [(int(row), int(column)) for row, column in sorted(spots.tolist(), key=lambda at: -grid[*at])][:_MOST_PEAKS]


def _rectangle(lesion: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The smallest one around a mask, as fractions of its sides."""
    rows, columns = np.flatnonzero(lesion.any(axis=1)), np.flatnonzero(lesion.any(axis=0))
    height, width = lesion.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def _relation(
    lesion: NDArray[np.bool_], box: tuple[float, float, float, float]
) -> Literal["inside", "edge", "outside"]:
    """Where a box, in fractions of the mask's sides, is to the lesion."""
    height, width = lesion.shape
    columns, rows = (
        slice(int(low * side), max(int(low * side) + 1, math.ceil(high * side)))
        for low, high, side in ((box[0], box[2], width), (box[1], box[3], height))
    )
    share = float(lesion[rows, columns].mean())
    return "outside" if share <= _BESIDE else "inside" if share >= 1 - _BESIDE else "edge"


def _third(at: float, low: float, high: float) -> int:
    return int(np.clip(np.floor(3 * (at - low) / (high - low)), 0, 2))


def _point(corner: NDArray[np.float64]) -> Point:
    return Point(x=round(float(corner[0]), 1), y=round(float(corner[1]), 1))
