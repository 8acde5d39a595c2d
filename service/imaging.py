from __future__ import annotations
import hashlib, io
from dataclasses import dataclass
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


class PictureError(ValueError):
    pass


@dataclass(frozen=True)
class PictureLimits:
    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 32


@dataclass(frozen=True)
class Picture:
    frame: NDArray[np.uint8]
    width: int
    height: int
    format: str
    sha256: str


def read_picture(data: bytes, frame_size: int, limits: PictureLimits = PictureLimits()) -> Picture:
    image = Image.open(io.BytesIO(data))
    fmt = image.format or ""
    image = ImageOps.exif_transpose(image).convert("RGB")
    w, h = image.size
    if image.size != (frame_size, frame_size):
        image = image.resize((frame_size, frame_size), Image.Resampling.BICUBIC)
    return Picture(np.asarray(image), w, h, fmt, hashlib.sha256(data).hexdigest())
