"""The JPEGs inside a TIFF: each strip or tile is one, and libtiff does not say where data of one are missing."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import (
    COMPRESSION,
    JPEGTABLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    ROWSPERSTRIP,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    TiffImageFile,
)

from service.imaging.jpeg import END_MARK, MissingData, check_jpeg
from service.imaging.jpeg_decoder import load_jpeg
from service.imaging.kinds import Kind, refusal

_JPEG = 7
_IN_PLANES = 2
# Photometric interpretation, and Adobe's transform in a JPEG of other colours: RGB and YCbCr.
_CONTRADICTIONS = ((2, 1), (6, 0))


def check_jpegs(image: TiffImageFile, data: bytes) -> None:
    """Raises :class:`MissingData` where a JPEG in an opened TIFF has not the data of all its pixels, and
    :class:`UnsupportedPicture` where one states other colours than the TIFF: decoders believe either."""
    tags = image.tag_v2
    if tags.get(COMPRESSION) != _JPEG:
        return
    tables = bytes(tags.get(JPEGTABLES, b"")).removesuffix(END_MARK)
    for start, size, expected, most in _parts(image):
        part = data[start : start + size]
        jpeg = tables + part[2:] if tables else part
        stated = check_jpeg(jpeg)
        if not stated.has_end:
            jpeg += END_MARK
            stated = check_jpeg(jpeg)
        if any(side > limit for side, limit in zip(stated.frame[:2], most, strict=True)):
            continue  # refused by libtiff; to decode it could take any memory
        # Chroma in a plane of its own may be smaller.
        if tags.get(PLANAR_CONFIGURATION) != _IN_PLANES and any(
            side < least for side, least in zip(stated.frame[:2], expected, strict=True)
        ):
            raise MissingData("a JPEG is smaller than its strip or tile")
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as opened:
            assert isinstance(opened, JpegImageFile)
            if _states_other_colours(opened, tags[PHOTOMETRIC_INTERPRETATION]):
                raise refusal(Kind("a TIFF whose JPEGs state other colours than itself", "save it as JPEG"))
            opened.draft(None, (max(1, opened.width // 8), max(1, opened.height // 8)))
            load_jpeg(opened, jpeg, stated)


def _states_other_colours(jpeg: JpegImageFile, photometric: int) -> bool:
    """Whether the markers of a JPEG contradict the TIFF that it is in; JFIF means YCbCr."""
    transform = 1 if "jfif" in jpeg.info else jpeg.info.get("adobe_transform")
    return jpeg.mode == "RGB" and (photometric, transform) in _CONTRADICTIONS


def _parts(image: TiffImageFile) -> Iterator[tuple[int, int, tuple[int, int], tuple[int, int]]]:
    """Where each strip or tile begins, its bytes, the width and height that it fills of the picture, and its own."""
    tags, (width, height) = image.tag_v2, image.size
    if TILEOFFSETS in tags:
        size = tags[TILEWIDTH], tags[TILELENGTH]
        for start, num_bytes in zip(tags[TILEOFFSETS], tags[TILEBYTECOUNTS], strict=True):
            yield start, num_bytes, size, size
        return
    rows = min(tags.get(ROWSPERSTRIP, height), height)
    per_plane = -(-height // rows)
    for number, (start, num_bytes) in enumerate(zip(tags[STRIPOFFSETS], tags[STRIPBYTECOUNTS], strict=True)):
        yield start, num_bytes, (width, min(rows, height - number % per_plane * rows)), (width, rows)
