"""An attention map in figures and as an outline; pure functions."""

from __future__ import annotations

from typing import Literal

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
        outline=[[_point(corner) for corner in ring * scale + origin] for ring in rings],
    )


def _centre(values: Map, floor: float) -> NDArray[np.float64]:
    """The centroid of the values above ``floor``, weighted by the excess, as fractions x and y."""
    excess = np.clip(values.astype(np.float64) - floor, 0.0, None)
    height, width = values.shape
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    total = excess.sum()
    return np.array([(excess.sum(axis=0) * x).sum() / total, (excess.sum(axis=1) * y).sum() / total])


def _point(corner: NDArray[np.float64]) -> Point:
    return Point(x=round(float(corner[0]), 1), y=round(float(corner[1]), 1))
