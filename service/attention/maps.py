"""The attention maps of one answer, and what of the image each covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MapKind = Literal["lesion", "spatial", "correlation"]
BranchChoice = Literal["1", "2", "mean"]

RGB = NDArray[np.uint8]
Map = NDArray[np.float32]
# x0, y0, x1, y1 in fractions of the image.
Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


class OverlayError(ValueError):
    """The request cannot be drawn; the text says what to change."""


class MissingMap(OverlayError):  # noqa: N818 - named for what is missing
    """The model has no such map."""


@dataclass(frozen=True)
class AttentionMaps:
    """The arrays that a prediction's overlays are drawn from; shapes as in the bundle's outputs."""

    frame: RGB  # [F, F, 3]
    width: int  # of the upright image, pixels
    height: int
    crop_box: NDArray[np.float32]  # [4], fractions
    lesion: NDArray[np.uint8]  # [S, S], over the whole image
    spatial: Map | None  # [2, h, w], each branch's over what it saw
    correlation: Map | None  # [2, h*w, h*w], likewise
    second_saw_whole: bool = False  # the second branch saw the whole image instead of the crop

    @property
    def box(self) -> Region:
        """The crop box."""
        x0, y0, x1, y1 = (float(edge) for edge in self.crop_box)
        return x0, y0, x1, y1

    def region(self, branch: BranchChoice) -> Region:
        """What the branch saw; of both, what both saw."""
        return WHOLE if branch == "2" and self.second_saw_whole else self.box
