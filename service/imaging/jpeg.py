"""What a JPEG is made of, read from its markers before it is decoded (ITU-T T.81)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from service.imaging.kinds import Kind, refusal
from service.imaging.picture import MissingData, TooManyParts

# Cameras write about twenty segments, progressive images about ten scans.
_MOST_SEGMENTS = 2_000
_MOST_SCANS = 100

_START_OF_SCAN, _END_OF_PICTURE, _RESTARTS = 0xDA, 0xD9, 0xDD
END_MARK = bytes((0xFF, _END_OF_PICTURE))
_WITHOUT_LENGTH = (0x01, 0xD8)
_APP1 = 0xE1
# Within a scan, FF before 00 is data, and FF before D0 to D7 is a restart marker.
_NEXT_MARKER = re.compile(b"\xff([^\x00\xd0-\xd7\xff])")
_RESTART_MARKER = re.compile(b"\xff([\xd0-\xd7])")

_SEQUENTIAL_OR_PROGRESSIVE = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_PROGRESSIVE = (0xC2, 0xCA)
_ARITHMETIC = (0xC9, 0xCA)
_LOSSLESS_OR_HIERARCHICAL = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
_JPEG_LS = 0xF7
# Photo apps open neither.
_FROM_DEVICE = "export it as an ordinary JPEG from the software that it comes from"

_LEAST_GAP = 1024  # bytes
# Of a scan: one for each row of blocks of the tallest image. Of all: those of ten scans, as progressive images have
# them. Of more, only the markers are counted, because each takes the decoder some twenty calls.
_MOST_INTERVALS, _MOST_INTERVALS_OF_ALL = 4096, 40_960


class Frame(NamedTuple):
    """A frame header. ``channels`` maps identifiers to sampling factors, across and down."""

    width: int = 0
    height: int = 0
    channels: dict[int, tuple[int, int]] = {}  # noqa: RUF012 - never changed
    is_progressive: bool = False
    is_arithmetic: bool = False


class Scan(NamedTuple):
    """One pass over the pixels: what it adds to which channels, and where its data are."""

    channels: tuple[int, ...]
    coefficients: range
    is_exact: bool  # down to the last bit
    is_refinement: bool  # of bits that an earlier scan began
    interval: int  # blocks or groups of them from one restart marker to the next; 0 without
    start: int
    end: int


class Interval(NamedTuple):
    """Data that a decoder takes in one go: where they end, before a marker."""

    end: int
    is_refinement: bool


class Jpeg(NamedTuple):
    """What the markers state."""

    frame: Frame
    scans: tuple[Scan, ...]
    has_end: bool


def check_jpeg(data: bytes) -> Jpeg:
    """What the markers state, up to the end mark.

    Raises :class:`TooManyParts` for a file of more parts than any camera or editor writes, and
    :class:`UnsupportedPicture` for one that only special decoders read. Damaged files pass: the decoder reports them.
    """
    frame, interval, scans, has_end = Frame(), 0, list[Scan](), False
    for number, (marker, position, skipped) in enumerate(_markers(data)):
        # Before the first scan, the decoder skips bytes between two segments one by one.
        if number == _MOST_SEGMENTS or (not scans and skipped > _MOST_SEGMENTS):
            raise TooManyParts("too many segments or scans")
        if scans and scans[-1].end == 0:
            scans[-1] = scans[-1]._replace(end=scans[-1].start + skipped)
        if marker == _START_OF_SCAN:
            scans.append(_scan(data, position, interval))
            if len(scans) > _MOST_SCANS:
                raise TooManyParts("too many segments or scans")
        elif marker == _RESTARTS:
            interval = int.from_bytes(data[position + 2 : position + 4])
        elif marker == _END_OF_PICTURE:
            has_end = data[position - 2 : position] == END_MARK
        elif not scans:
            _check_frame(marker, data[position : position + 8])
            frame = _frame(marker, data, position) or frame
    return Jpeg(frame, tuple(scans), has_end)


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
        raise refusal(Kind("a JPEG-LS image, as medical devices write it", _FROM_DEVICE))
    if marker in _LOSSLESS_OR_HIERARCHICAL:
        raise refusal(Kind("a lossless or hierarchical JPEG, as medical devices write it", _FROM_DEVICE))
    if marker in _SEQUENTIAL_OR_PROGRESSIVE and len(header) == 8:
        bits, channels = header[2], header[7]
        if bits == 12:
            raise refusal(Kind("a JPEG of 12 bits a channel, as medical devices write it", _FROM_DEVICE))
        if channels not in (1, 3, 4):
            raise refusal(Kind(f"a JPEG of {channels} channels", "save it as JPEG in RGB"))


def _frame(marker: int, data: bytes, position: int) -> Frame | None:
    """A frame header; None for other segments."""
    if marker not in _SEQUENTIAL_OR_PROGRESSIVE or len(data) < position + 8:
        return None
    height, width = (int.from_bytes(data[position + at : position + at + 2]) for at in (3, 5))
    entries = data[position + 8 : position + 8 + 3 * data[position + 7]]
    # A decoder refuses a factor of zero.
    factors = ((max(1, both >> 4), max(1, both & 0x0F)) for both in entries[1::3])
    channels = dict(zip(entries[::3], factors, strict=False))
    return Frame(width, height, channels, marker in _PROGRESSIVE, marker in _ARITHMETIC)


def _scan(data: bytes, position: int, interval: int) -> Scan:
    """What the header of a scan says; its end is not known yet."""
    start = position + int.from_bytes(data[position : position + 2])
    fields = position + 3 + 2 * data[position + 2] if position + 2 < len(data) else len(data)
    first, last, bits = data[fields : fields + 3].ljust(3, b"\0")
    channels = tuple(data[position + 3 : fields : 2])
    return Scan(channels, range(first, min(last, 63) + 1), bits & 0x0F == 0, bits >> 4 > 0, interval, start, 0)


def intervals(data: bytes, jpeg: Jpeg) -> list[Interval]:
    """The data between markers: up to each restart marker, and to the end of each scan.

    Raises :class:`MissingData` where a scan or a restart marker is missing, or where zeros fill a gap.
    """
    if not _has_all_scans(jpeg):
        raise MissingData("a scan is missing")
    ends: list[Interval] = []
    for scan in jpeg.scans:
        if jpeg.frame.is_progressive and scan.coefficients.start > 0:
            # A block of one shade takes a bit, and most of them share one: more zeros were never written.
            gap = bytes(max(_LEAST_GAP, _num_units(jpeg.frame, scan) // 8 + 1))
            if data.find(gap, scan.start, scan.end) >= 0:
                raise MissingData("there is a gap")
        if scan.interval:  # without, the decoder takes such a marker for the scan's end
            expected = -(-_num_units(jpeg.frame, scan) // scan.interval) - 1
            is_followed = expected <= _MOST_INTERVALS and len(ends) + expected <= _MOST_INTERVALS_OF_ALL
            count = 0
            for count, found in enumerate(_RESTART_MARKER.finditer(data, scan.start, scan.end), 1):
                if found[1][0] & 7 != (count - 1) % 8 or count > expected + 1:
                    raise MissingData("a restart marker is missing")
                if is_followed:
                    ends.append(Interval(found.start(), scan.is_refinement))
            # Some encoders write one more after the last interval.
            if count not in (expected, expected + 1):
                raise MissingData("a restart marker is missing")
        ends.append(Interval(scan.end, scan.is_refinement))
    return ends


def _num_units(frame: Frame, scan: Scan) -> int:
    """Units of which the restart interval is a number: blocks of one channel, or groups of several channels' blocks."""
    widest = max((across for across, _ in frame.channels.values()), default=1)
    highest = max((down for _, down in frame.channels.values()), default=1)
    across, down = frame.channels.get(scan.channels[0], (1, 1)) if len(scan.channels) == 1 else (1, 1)
    return -(-frame.width * across // (8 * widest)) * -(-frame.height * down // (8 * highest))


def completed(data: bytes, jpeg: Jpeg) -> list[bytes]:
    """Files of a JPEG that ends before its end mark; they decode alike if nothing but the mark is missing.

    After the last bytes of the last scan, a decoder reads what it lacks from what each file has there: nothing, which
    counts as zeros, ones, or both in turn. None where that proves nothing: an interval may be missing whole.
    """
    if jpeg.has_end or any(scan.interval for scan in jpeg.scans):
        return []
    data = data.removesuffix(b"\xff")
    return [data + filling + END_MARK for filling in (b"", b"\xff\0" * 32, b"\x5a" * 64, b"\xa5" * 64)]


def without_exif(data: bytes) -> bytes:
    """A JPEG file without its segments of EXIF data and XMP."""
    kept, start = list[bytes](), 0
    for marker, position, _ in _markers(data):
        if marker == _START_OF_SCAN:
            break
        if marker == _APP1:
            kept.append(data[start : position - 2])
            start = position + int.from_bytes(data[position : position + 2])
    return b"".join([*kept, data[start:]])


def _has_all_scans(jpeg: Jpeg) -> bool:
    """Whether a scan gives the last bit of every coefficient of every channel; a progressive JPEG spreads them."""
    exact = {
        (channel, coefficient)
        for scan in jpeg.scans
        if scan.is_exact or not jpeg.frame.is_progressive
        for channel in scan.channels
        for coefficient in (scan.coefficients if jpeg.frame.is_progressive else range(64))
    }
    return bool(jpeg.frame.channels) and exact >= {
        (channel, coefficient) for channel in jpeg.frame.channels for coefficient in range(64)
    }
