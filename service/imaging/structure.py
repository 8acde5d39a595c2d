"""What decoding an image file will take, found out before it is decoded.

A decoder's time and memory grow with the number of segments, scans, chunks and strips, which can be a few bytes each:
20 MB of scans take an hour to decode.
"""

from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH

from service.imaging.bmp import check_bmp
from service.imaging.jpeg import Jpeg, check_jpeg
from service.imaging.kinds import Format
from service.imaging.picture import TooManyParts
from service.imaging.png import check_png
from service.imaging.tiff import check_tiff


def check_parts(data: bytes, picture_format: Format) -> Jpeg | None:
    """What a JPEG's markers state; None for other files.

    Raises :class:`TooManyParts` for a file of more parts than any camera or editor writes, and
    :class:`UnsupportedPicture` for one that is not decoded for certain. Damaged files pass: the decoder reports them.
    """
    match picture_format:
        case "JPEG":
            return check_jpeg(data)
        case "PNG":
            check_png(data)
        case "TIFF":
            check_tiff(data)
        case "BMP":
            check_bmp(data)
    return None


def check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Raises :class:`TooManyParts` for an opened TIFF with tiles of more than ``max_pixels`` pixels."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(TILEWIDTH, 0) * tags.get(TILELENGTH, 0) > max_pixels:
        raise TooManyParts("too large tiles")


def decoding_samples(image: Image.Image, num_scans: int) -> int:
    """Values that decoding an opened image computes: pixels x channels x passes."""
    return image.width * image.height * max(1, len(image.getbands())) * num_scans


def decoding_bytes(image: Image.Image, num_scans: int, *, reduction: int = 1) -> int:
    """The most memory that decoding an opened image takes, in bytes; Pillow keeps four of them for a pixel.

    Its sides are divided by ``reduction`` while it is decoded.
    """
    pixels = image.width * image.height
    size = 4 * pixels // reduction**2
    if image.format == "TIFF":  # a strip may be the whole image
        return size + 4 * pixels
    if image.info.get("progressive") or num_scans > 1:  # a JPEG's coefficients, which all scans add to
        layers = [(wide, high) for _, wide, high, *_ in getattr(image, "layer", [])] or [(1, 1)]
        widest, highest = (max(sampling) for sampling in zip(*layers, strict=True))
        size += 2 * pixels * sum(wide * high for wide, high in layers) // (widest * highest)
    return size
