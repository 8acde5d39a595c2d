"""Sharpness, exposure and colour of a frame; pure functions.

Measured at frame size: the network does not see blur that resizing removes either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # [F, F, 3], sRGB

# A pixel is dark when all its channels are below this, and bright when its luma reaches this; of 255.
DARK_LEVEL = 100
BRIGHT_LEVEL = 240

# Below this mean, an image has no colour: the least colourful of ISIC 2017's 2,000 training images has 4.1, and grey
# images stay near 0 after JPEG. Not a limit of the bundle, because no dermoscopy set has grey images to fit it to.
MIN_COLOUR = 3.0

# Distance in pixels over which sharp and blurred images change equally.
_WIDE = 4

# Luma weights of ITU-R BT.601 in 256ths, as in JPEG.
_RED, _GREEN, _BLUE = np.uint16(77), np.uint16(150), np.uint16(29)


@dataclass(frozen=True)
class Exposure:
    """Measurements of the pixels."""

    sharpness: float
    dark_share: float
    bright_share: float
    colour: float


def measure_exposure(frame: Frame) -> Exposure:
    """Sharpness and exposure of a frame ``[F, F, 3]``.

    ``sharpness`` is the mean change of luma between neighbours as a share of that between pixels four apart: about 0.25
    without detail finer than four pixels, 1 for noise, whatever the contrast; 0 for a uniform frame.
    ``dark_share`` and ``bright_share`` are the shares of dark and of bright pixels. ``colour`` is the mean difference
    between a pixel's largest and smallest channel, of 255: 0 for greys.
    """
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]  # ten times as fast as over the last axis
    luma = ((_RED * red + _GREEN * green + _BLUE * blue) >> 8).astype(np.int16)
    wide = _mean_change(luma, _WIDE)
    largest = np.maximum(np.maximum(red, green), blue)
    return Exposure(
        sharpness=_mean_change(luma, 1) / wide if wide > 0.0 else 0.0,
        dark_share=float((largest < DARK_LEVEL).mean()),
        bright_share=float((luma >= BRIGHT_LEVEL).mean()),
        colour=float((largest - np.minimum(np.minimum(red, green), blue)).mean()),
    )


def _mean_change(luma: NDArray[np.int16], distance: int) -> float:
    across = np.abs(luma[:, distance:] - luma[:, :-distance])
    down = np.abs(luma[distance:] - luma[:-distance])
    return float(across.mean() + down.mean())
