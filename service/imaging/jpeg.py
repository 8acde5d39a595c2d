"""What a JPEG is made of, read from its markers before it is decoded (ITU-T T.81)."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    scans = 0
    for number, (marker, position, skipped) in enumerate(_markers(data)):
        # Before the first scan, the decoder skips bytes between two segments one by one.
        if number == _MOST_SEGMENTS or (scans == 0 and skipped > _MOST_SEGMENTS):
            raise TooManyParts("too many segments or scans")
        if marker == _START_OF_SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                raise TooManyParts("too many segments or scans")
        elif scans == 0:
            _check_frame(marker, data[position : position + 8])
    return scans


def _markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker up to the end mark, where its content begins, and how many bytes lie between it and the last one."""
    position = 2
    while (found := _NEXT_MARKER.search(data, position)) is not None:
        marker, skipped = found[1][0], found.start() - position
        position = found.end()
        yield marker, position, skipped
        if marker == _END_OF_PICTURE:
            return
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])
    yield _END_OF_PICTURE, len(data), max(0, len(data) - position)


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


def completed(data: bytes) -> list[bytes]:
    """Files of a JPEG that ends before its end mark; they decode alike if nothing but the mark is missing.

    After the last bytes of the last scan, a decoder reads what it lacks from what each file has there: nothing, which
    counts as zeros, ones, or both in turn. None where that proves nothing: an interval or a scan may be missing whole.
    """
    if bytes((0xFF, _RESTARTS)) in data or not _has_all_scans(data):
        return []
    data, end = data.removesuffix(b"\xff"), bytes((0xFF, _END_OF_PICTURE))
    return [data + filling + end for filling in (b"", b"\xff\0" * 32, b"\x5a" * 64, b"\xa5" * 64)]


def _has_all_scans(data: bytes) -> bool:
    """Whether a scan gives the last bit of every coefficient of every channel; a progressive JPEG spreads them."""
    channels, exact = 0, set()
    for marker, position, _ in _markers(data):
        if marker in _SEQUENTIAL_OR_PROGRESSIVE:
            channels = data[position + 7]
        elif marker == _START_OF_SCAN:
            end = position + 3 + 2 * data[position + 2]
            first, last, bits = data[end : end + 3]
            if bits & 0x0F == 0:
                ids = data[position + 3 : end : 2]
                exact |= {(channel, coefficient) for channel in ids for coefficient in range(first, min(last, 63) + 1)}
    return channels > 0 and len(exact) == 64 * channels
