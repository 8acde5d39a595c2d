"""Images made for these tests, and what the service makes of them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging import read_picture

RGB = NDArray[np.uint8]

LOSSLESS = [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]

# The tags of a grey page of 40 x 40 pixels, for :func:`tiff`.
GREY_PAGE = {256: 40, 257: 40, 258: 8, 259: 1, 262: 1, 277: 1, 278: 40}
# Orientation as EXIF defines it: how the upright image lies in the file.
STORED: dict[int, Callable[[RGB], RGB]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def uniform(mode: str, colour: object, size: tuple[int, int] = (40, 40)) -> Image.Image:
    """An image of one colour."""
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def scene(width: int = 60, height: int = 44) -> RGB:
    """A smooth image without any symmetry."""
    y, x = np.mgrid[:height, :width]
    channels = (255 * x / (width - 1), 255 * y / (height - 1), 255 * (x + 2 * y) / (width + 2 * height - 3))
    return np.stack(channels, axis=2).round().astype(np.uint8)


def frame(data: bytes, size: int = 40) -> NDArray[np.int_]:
    """The frame that is made of a file, in integers that can be subtracted."""
    return read_picture(data, size).frame.astype(int)


def only_colour(data: bytes) -> list[int]:
    """The one colour of an image that has only one."""
    colours = np.unique(frame(data).reshape(-1, 3), axis=0)
    assert len(colours) == 1
    return [int(value) for value in colours[0]]


def tiff(pages: list[dict[int, int]], pixels: bytes) -> bytes:
    """A little-endian TIFF written by hand: one strip that all pages share, and only the tags given."""
    data = bytearray(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels)
    for number, tags in enumerate(pages):
        entries = {**tags, 273: 8, 279: len(pixels)} if tags else {}
        following = len(data) + 6 + 12 * len(entries) if number < len(pages) - 1 else 0
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
        data += struct.pack("<I", following)
    return bytes(data)
