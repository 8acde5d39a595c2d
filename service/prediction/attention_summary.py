"""What an attention map says, in figures and as an outline; pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.attention.overlay import EVIDENCE_LEVEL, AttentionMaps, Map, OverlayOptions, is_evident, map_values
from service.prediction.schemas import AttentionSummary, Point

Ring = NDArray[np.float64]  # [corners, 2], x and y

# Where the tint begins: an attention of 0, or what the average spot gets.
_FLOOR = {"lesion": 0.0, "spatial": 1.0, "correlation": 1.0}


def summarise(maps: AttentionMaps, options: OverlayOptions) -> AttentionSummary:
    """How much of a map stands out, and where. Of ``options``, kind, branch and spot count.

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
        outline=[[_point(corner) for corner in ring * scale + origin] for ring in rings],
    )


def contours(values: Map, level: float) -> list[Ring]:
    """Where a map crosses ``level``, as closed polygons in fractions of the map's sides (marching squares).

    A value stands for the middle of its cell. What reaches an edge of the map is closed along it. Seen with y pointing
    down, rings run clockwise around what is above the level.
    """
    padded = np.pad(values.astype(np.float64), 1, constant_values=np.nextafter(level, -np.inf))
    above = padded >= level
    crossed = above[:-1, :-1] & above[:-1, 1:] & above[1:, 1:] & above[1:, :-1]
    crossed = ~crossed & (above[:-1, :-1] | above[:-1, 1:] | above[1:, 1:] | above[1:, :-1])
    following: dict[_Edge, _Edge] = {}
    for y, x in np.argwhere(crossed).tolist():
        following |= _steps(above, padded, level, y, x)
    height, width = values.shape
    rings = []
    while following:
        first, edge = following.popitem()
        ring = [first]
        while edge != first:
            ring.append(edge)
            edge = following.pop(edge)
        corners = np.array([_crossing(padded, level, *edge) for edge in ring])
        # The padding moves everything by one cell, the middle of a cell is half a cell from its corner.
        rings.append(np.clip((corners - 0.5) / (width, height), 0.0, 1.0))
    return rings


_Corner = tuple[int, int]  # y, x
_Edge = tuple[_Corner, _Corner]  # between two neighbours, the upper or left one first


def _steps(above: NDArray[np.bool_], values: NDArray[np.float64], level: float, y: int, x: int) -> dict[_Edge, _Edge]:
    """From which edge to which the contour runs through the square below and right of a corner."""
    corners = [(y, x), (y, x + 1), (y + 1, x + 1), (y + 1, x)]  # clockwise
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    leaving = [i for i, (a, b) in enumerate(edges) if above[a] and not above[b]]
    entering = [i for i, (a, b) in enumerate(edges) if above[b] and not above[a]]
    # Of four crossings, the middle decides whether the two high corners are connected.
    connected = float(values[y : y + 2, x : x + 2].mean()) >= level
    turn = 1 if connected else -1
    steps = {}
    for start in leaving:
        turns = [turn * (end - start) % 4 for end in entering]
        steps[_ordered(*edges[start])] = _ordered(*edges[entering[turns.index(min(turns))]])
    return steps


def _ordered(a: _Corner, b: _Corner) -> _Edge:
    return (a, b) if a < b else (b, a)


def _crossing(values: NDArray[np.float64], level: float, a: _Corner, b: _Corner) -> tuple[float, float]:
    """Where between two neighbours the level is crossed, as x and y."""
    part = (level - values[a]) / (values[b] - values[a])
    return a[1] + part * (b[1] - a[1]), a[0] + part * (b[0] - a[0])


def _centre(values: Map, floor: float) -> NDArray[np.float64]:
    """The middle of what exceeds ``floor``, weighted by the excess, as fractions x and y."""
    excess = np.clip(values.astype(np.float64) - floor, 0.0, None)
    height, width = values.shape
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    total = excess.sum()
    return np.array([(excess.sum(axis=0) * x).sum() / total, (excess.sum(axis=1) * y).sum() / total])


def _point(corner: NDArray[np.float64]) -> Point:
    return Point(x=round(float(corner[0]), 1), y=round(float(corner[1]), 1))
