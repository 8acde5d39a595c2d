"""What a JPEG is made of, read from its markers before it is decoded (ITU-T T.81)."""

from __future__ import annotations

import re

from service.imaging.kinds import Kind, refusal
from service.imaging.picture import TooManyParts

# Cameras write about twenty segments, progressive pictures about ten scans.
_MOST_SEGMENTS = 2_000
_MOST_SCANS = 100

_START_OF_SCAN, _END_OF_PICTURE, _RESTARTS = 0xDA, 0xD9, 0xDD
_WITHOUT_LENGTH = (0x01, 0xD8)
# Within a scan, FF before 00 is data, and FF before D0 to D7 is a restart marker.
_NEXT_MARKER = re.compile(b"\xff([^\x00\xd0-\xd7\xff])")

_SEQUENTIAL_OR_PROGRESSIVE = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_LOSSLESS_OR_HIERARCHICAL = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
_JPEG_LS = 0xF7


def check_jpeg(data: bytes) -> int:
    """The number of scans, each of which a decoder adds to all pixels.

    Raises :class:`TooManyParts` for a file of more parts than any camera or editor writes, and
    :class:`UnsupportedPicture` for one that only special decoders read. Damaged files pass: the decoder reports them.
    """
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
        if scans == 0:
            _check_frame(marker[1][0], data[position : position + 8])
        if marker[1][0] not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])
    raise TooManyParts("too many segments or scans")


def _check_frame(marker: int, header: bytes) -> None:
    """Refuse what a frame header says that Pillow's decoder does not read; other segments and damage pass."""
    if marker == _JPEG_LS:
        raise refusal(Kind("a JPEG-LS picture, as medical devices write it"))
    if marker in _LOSSLESS_OR_HIERARCHICAL:
        raise refusal(Kind("a lossless or hierarchical JPEG, as medical devices write it"))
    if marker in _SEQUENTIAL_OR_PROGRESSIVE and len(header) == 8:
        bits, channels = header[2], header[7]
        if bits == 12:
            raise refusal(Kind("a JPEG of 12 bits a channel", "save it as JPEG of 8 bits"))
        if channels not in (1, 3, 4):
            raise refusal(Kind(f"a JPEG of {channels} channels", "save it as JPEG in RGB"))


def completed(data: bytes) -> tuple[bytes, bytes] | None:
    """Two files of a JPEG that ends before its end mark; they decode alike if nothing but the mark is missing.

    After the last bytes of the scan, a decoder reads what it lacks as zeros from the first file, and as ones from the
    second. None where that proves nothing: another interval or scan may be missing whole.
    """
    if check_jpeg(data) != 1 or bytes((0xFF, _RESTARTS)) in data or b"\xff\xc0" not in data:
        return None
    data, end = data.removesuffix(b"\xff"), bytes((0xFF, _END_OF_PICTURE))
    return data + end, data + b"\xff\0" * 32 + end
