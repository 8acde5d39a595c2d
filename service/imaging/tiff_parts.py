"""The strips and tiles of a TIFF: libtiff does not say where data of a compressed one are missing or changed."""

from __future__ import annotations

import io
import zlib
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

from service.imaging.jpeg import END_MARK, check_jpeg
from service.imaging.jpeg_decoder import load_jpeg
from service.imaging.kinds import Kind, refusal
from service.imaging.picture import MissingData

_LZW, _JPEG, _PACKBITS, _ZSTANDARD = 5, 7, 32773, 50000
_DEFLATE = (8, 32946)
# Encoders write no such run of zeros, also for one shade.
_WITHOUT_CHECKSUM, _GAP = (_LZW, _PACKBITS, _ZSTANDARD), bytes(1024)
_CHUNK = 2**16  # bytes
_MOST_PIXEL_BYTES = 8  # four channels of 16 bits
_IN_PLANES = 2
# Photometric interpretation, and Adobe's transform in a JPEG of other colours: RGB and YCbCr.
_CONTRADICTIONS = ((2, 1), (6, 0))


def check_tiff_parts(image: TiffImageFile, data: bytes) -> None:
    """Raises :class:`MissingData` and ``zlib.error`` where an opened TIFF has not the data of all its pixels, as far as
    its compression shows that, and :class:`UnsupportedPicture` where a JPEG in it states other colours than the TIFF:
    decoders believe either."""
    compression = image.tag_v2.get(COMPRESSION)
    if compression == _JPEG:
        _check_jpegs(image, data)
    elif compression in _DEFLATE:
        for part, _, (width, height) in _parts(image, data):
            _check_deflate(part, _MOST_PIXEL_BYTES * width * height)
    elif compression in _WITHOUT_CHECKSUM and any(_GAP in bytes(part) for part, *_ in _parts(image, data)):
        raise MissingData("there is a gap")


def _check_deflate(part: memoryview, most: int) -> None:
    """Raises ``zlib.error`` for another checksum than that of the data, at which libtiff does not look; like it, reads
    no further than about ``most`` bytes."""
    stream = zlib.decompressobj()
    for start in range(0, len(part), _CHUNK):
        left: bytes | memoryview = part[start : start + _CHUNK]
        while left and not stream.eof and most >= 0:
            most -= len(stream.decompress(left, min(most, 16 * _CHUNK) + 1))
            left = stream.unconsumed_tail


def _check_jpegs(image: TiffImageFile, data: bytes) -> None:
    tags = image.tag_v2
    tables = bytes(tags.get(JPEGTABLES, b"")).removesuffix(END_MARK)
    for part, expected, most in _parts(image, data):
        jpeg = tables + part[2:] if tables else bytes(part)
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


def _parts(image: TiffImageFile, data: bytes) -> Iterator[tuple[memoryview, tuple[int, int], tuple[int, int]]]:
    """The bytes of each strip or tile, the width and height that it fills of the image, and its own.

    As for libtiff, one of no stated length is as long as the file.
    """
    tags, (width, height) = image.tag_v2, image.size
    is_tiled = TILEOFFSETS in tags
    starts = tags[TILEOFFSETS if is_tiled else STRIPOFFSETS]
    lengths = tags.get(TILEBYTECOUNTS if is_tiled else STRIPBYTECOUNTS, (0,) * len(starts))
    parts = (memoryview(data)[start:][: length or None] for start, length in zip(starts, lengths, strict=True))
    if is_tiled:
        size = tags[TILEWIDTH], tags[TILELENGTH]
        yield from ((part, size, size) for part in parts)
        return
    rows = min(tags.get(ROWSPERSTRIP, height), height)
    per_plane = -(-height // rows)
    for number, part in enumerate(parts):
        yield part, (width, min(rows, height - number % per_plane * rows)), (width, rows)
