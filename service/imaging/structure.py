"""What decoding a picture file will take, found out before it is decoded.

A decoder's time and memory grow with the number of segments, scans, chunks and strips, which can be a few bytes each:
20 MB of scans take an hour to decode.
"""

from __future__ import annotations

import math
import re
import struct

from PIL import Image
from PIL.TiffImagePlugin import STRIPOFFSETS, TILELENGTH, TILEOFFSETS, TILEWIDTH

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
_BIG_TIFF_SIGNATURES = (b"II+\0", b"MM\0+")

# Cameras write about twenty segments, progressive pictures about ten scans.
_MOST_SEGMENTS = 2_000
_MOST_SCANS = 100
# 20 MB in the smallest chunks that encoders write; a picture of 50,000 rows in strips of one row.
_MOST_CHUNKS = _MOST_STRIPS = 50_000

_MOST_TAGS = 100
_MOST_NODES = 1_000_000

_START_OF_SCAN, _END_OF_PICTURE = 0xDA, 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)
# Within a scan, FF before 00 is data, and FF before D0 to D7 is a restart marker.
_NEXT_MARKER = re.compile(b"\xff([^\x00\xd0-\xd7\xff])")


class TooManyParts(ValueError):  # noqa: N818 - named for what was sent
    """Decoding would take too long."""


def check_parts(data: bytes) -> int:
    """How many times a decoder goes over the pixels: the scans of a JPEG, once for other files.

    Raises :class:`TooManyParts` for a file of more parts than any camera or editor writes. Damaged files pass: the
    decoder reports them.
    """
    if data.startswith(JPEG_SIGNATURE):
        return _check_jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        _check_png(data)
    elif data.startswith((*TIFF_SIGNATURES, *_BIG_TIFF_SIGNATURES)):
        _check_tiff(data)
    return 1


def check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Raises :class:`TooManyParts` for an opened TIFF with tiles of more than ``max_pixels`` pixels."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(TILEWIDTH, 0) * tags.get(TILELENGTH, 0) > max_pixels:
        raise TooManyParts("too large tiles")


def decoding_samples(image: Image.Image, num_scans: int) -> int:
    """Values that decoding an opened picture computes: pixels x channels x passes."""
    return image.width * image.height * max(1, len(image.getbands())) * num_scans


def decoding_bytes(image: Image.Image, num_scans: int) -> int:
    """The most memory that decoding an opened picture takes, in bytes; Pillow keeps four of them for a pixel."""
    pixels = image.width * image.height
    size = 4 * pixels
    if image.format == "TIFF":  # a strip may be the whole picture
        return size + 4 * pixels
    if image.info.get("progressive") or num_scans > 1:  # a JPEG's coefficients, which all scans add to
        layers = [(wide, high) for _, wide, high, *_ in getattr(image, "layer", [])] or [(1, 1)]
        widest, highest = (max(sampling) for sampling in zip(*layers, strict=True))
        size += 2 * pixels * sum(wide * high for wide, high in layers) // (widest * highest)
    return size


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that a WebP file states; zero for other files."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            bits = int.from_bytes(data[26:30], "little")
            return bits & 0x3FFF, bits >> 16 & 0x3FFF


def is_simple_profile(profile: bytes) -> bool:
    """Whether the colour engine applies this ICC profile in bounded time (ICC.1:2022, sections 7.3 and 10).

    Camera and display profiles have some twenty tags, and printer profiles tables of a hundred thousand nodes. Chains
    of processing elements, which no camera writes, may repeat one element a million times. A profile that cannot be
    parsed is not simple: a tag behind the damage may be costly.
    """
    try:
        (num_tags,) = struct.unpack_from(">I", profile, 128)
        if num_tags > _MOST_TAGS:
            return False
        return all(_is_simple_tag(profile, 132 + 12 * i) for i in range(num_tags))
    except (struct.error, ValueError, IndexError):  # cut off: what follows is unknown
        return False


def _is_simple_tag(profile: bytes, position: int) -> bool:
    """Whether the tag whose table entry is at ``position`` has few enough nodes."""
    _, offset, _ = struct.unpack_from(">4sII", profile, position)
    match profile[offset : offset + 4]:
        case b"mpet":
            return False
        case b"mft1" | b"mft2":
            channels, outputs, grid = profile[offset + 8 : offset + 11]
            return bool(outputs * grid**channels <= _MOST_NODES)
        case b"mAB " | b"mBA ":
            channels, outputs = profile[offset + 8 : offset + 10]
            (table,) = struct.unpack_from(">I", profile, offset + 24)
            if not table:
                return True
            sides = struct.unpack_from(f"{channels}B", profile, offset + table)
            return bool(outputs * math.prod(sides) <= _MOST_NODES)
    return True


def _check_jpeg(data: bytes) -> int:
    position, scans = 2, 0
    for _ in range(_MOST_SEGMENTS):
        marker = _NEXT_MARKER.search(data, position)
        # Before the first scan, the decoder skips bytes between two segments one by one.
        if scans == 0 and (len(data) if marker is None else marker.start()) - position > _MOST_SEGMENTS:
            break
        if marker is None or marker[1][0] == _END_OF_PICTURE:
            return scans
        scans += marker[1][0] == _START_OF_SCAN
        if scans > _MOST_SCANS:
            break
        position = marker.end()
        if marker[1][0] not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])
    raise TooManyParts("too many segments or scans")


def _check_png(data: bytes) -> None:
    position, end = len(PNG_SIGNATURE), len(data)
    for _ in range(_MOST_CHUNKS):
        if position >= end:
            return
        position += 12 + int.from_bytes(data[position : position + 4])
    raise TooManyParts("too many chunks")


def _check_tiff(data: bytes) -> None:
    order = "<" if data.startswith(b"II") else ">"
    big = data.startswith(_BIG_TIFF_SIGNATURES)
    entry = struct.Struct(f"{order}HHQQ" if big else f"{order}HHII")
    try:
        (offset,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)
        (num,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, offset)
        first = offset + (8 if big else 2)
        for position in range(first, min(first + num * entry.size, len(data)), entry.size):
            tag, _, count, _ = entry.unpack_from(data, position)
            if tag in (STRIPOFFSETS, TILEOFFSETS) and count > _MOST_STRIPS:
                raise TooManyParts("too many strips or tiles")
    except struct.error:  # cut off
        return
