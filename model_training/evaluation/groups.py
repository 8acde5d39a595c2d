"""Groups of images by what they show: the size of the lesion, whether it touches the border, hair."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from model_training.arrays import Flags
from model_training.data.artefacts import Frame
from model_training.data.frames import FrameSet
from model_training.data.masks import LESION_ABOVE

# About the quarters of the lesions in ISIC 2017 train, by their share of the image.
SMALL, LARGE = 0.05, 0.3

# At least this share of a hairy image is hair; a fifth of the images of ISIC 2017 has it.
HAIRY = 0.02

# A hair is thinner than this, and longer than that, as shares of the side; darker than its surroundings by so many of
# 255 levels.
_THIN, _LONG, _DARKER = 0.05, 0.15, 12
# It fills little of the rectangle around it, or that is narrow.
_FILLS, _NARROW = 0.2, 0.06


def groups_of(pictures: FrameSet) -> dict[str, Flags]:
    """By name, which of the N images are in the group; groups of lesions hold images with a mask only."""
    masks_NFF, has_mask_N = np.asarray(pictures.masks) > LESION_ABOVE, np.asarray(pictures.has_mask)
    share_N = masks_NFF.mean(axis=(1, 2))
    edges_NE = np.concatenate([masks_NFF[:, 0], masks_NFF[:, -1], masks_NFF[:, :, 0], masks_NFF[:, :, -1]], axis=1)
    touches_N: Flags = np.any(edges_NE, axis=1)
    hairy_N = np.array([hair_share(np.asarray(frame)) >= HAIRY for frame in pictures.frames])
    of_lesions: Mapping[str, Flags] = {
        f"lesion below {SMALL:.0%} of the image": share_N < SMALL,
        f"lesion of {SMALL:.0%} to {LARGE:.0%}": (share_N >= SMALL) & (share_N <= LARGE),
        f"lesion above {LARGE:.0%}": share_N > LARGE,
        "lesion touches the border": touches_N,
        "lesion does not touch the border": ~touches_N,
    }
    return {
        **{name: flags_N & has_mask_N for name, flags_N in of_lesions.items()},
        "hair": hairy_N,
        "little or no hair": ~hairy_N,
    }


def hair_share(frame: Frame) -> float:
    """The share of the image that is hair, or another thin, long, dark line such as an edge of a ruler.

    Closings along lines (Lee et al., DullRazor, 1997) fill a hair across, but not along it; a spot they all fill.
    """
    side = frame.shape[0]
    num = int(_THIN * side) | 1
    grey_FF = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    diagonal = np.eye(num, dtype=bool)
    lines = (np.ones((1, num), dtype=bool), np.ones((num, 1), dtype=bool), diagonal, diagonal[:, ::-1])
    closed = np.stack([ndimage.grey_closing(grey_FF, footprint=line) for line in lines])
    regions, _ = ndimage.label(closed.max(axis=0) - closed.min(axis=0) > _DARKER, structure=np.ones((3, 3)))
    pixels = 0
    for number, place in enumerate(ndimage.find_objects(regions), 1):
        height, width = (part.stop - part.start for part in place)
        area = int((regions[place] == number).sum())
        thin = area < _FILLS * height * width or min(height, width) < _NARROW * side
        if thin and np.hypot(height, width) >= _LONG * side:
            pixels += area
    return pixels / side**2
