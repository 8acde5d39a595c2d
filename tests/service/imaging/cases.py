"""One image in every depth, for files that are compared with what an independent decoder makes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
RGB = NDArray[np.uint8]


def _scene() -> RGB:
    """A smooth image without any symmetry, in colours of skin and lesion."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    lesion = np.exp(-(((x - 0.4) / 0.25) ** 2) - ((y - 0.6) / 0.2) ** 2)
    channels = (225 - 150 * lesion - 20 * x, 175 - 130 * lesion + 30 * y, 150 - 90 * lesion + 40 * x * y)
    return np.stack(channels, axis=2).round().astype(np.uint8)


PIXELS = _scene()
GREY = np.ascontiguousarray(PIXELS[..., 1])
DEEP = PIXELS.astype(np.uint16) * 257
YCBCR = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))
INKS = np.concatenate([255 - PIXELS, np.full((SIDE, SIDE, 1), 30, np.uint8)], axis=2)


class Case(NamedTuple):
    """A file, and what must become of it."""

    name: str
    data: bytes | bytearray
    expected: RGB | None = None  # None: what the independent decoder makes of it
    refused: str = ""  # part of the text


def with_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """The pixels with an opaque, a half transparent and a see-through part; as alpha or premultiplied."""
    top = np.iinfo(pixels.dtype).max
    alpha = np.full((SIDE, SIDE, 1), top, pixels.dtype)
    alpha[SIDE // 2 :] = top // 2
    alpha[:, : SIDE // 8] = 0
    return np.concatenate([pixels if pixels.ndim == 3 else pixels[..., None], alpha], axis=2)


def premultiplied(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours times their alpha, which is the last channel."""
    top = np.iinfo(pixels.dtype).max
    shown = pixels.copy()
    shown[..., :-1] = (pixels[..., :-1].astype(float) * pixels[..., -1:] / top).round()
    return shown
