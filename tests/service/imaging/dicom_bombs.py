"""Small DICOM files that would take long, or much memory, to read without limits."""

from __future__ import annotations

import struct

import numpy as np
from pydicom import uid

from tests.service.imaging.cases import PIXELS
from tests.service.imaging.dicoms import data_set_at, dicom, of_jpeg
from tests.service.imaging.test_dicom import JPEG, SIZE, j2k

OF_JPEG = of_jpeg(
    JPEG, BurnedInAnnotation="YES", PixelSpacing=["0.2", "0.2"], TrackingUID="2.25.77", StudyDate="20260105"
)

ITEM, END = struct.pack("<HHI", 0xFFFE, 0xE000, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
MANY = 300_000


def elements() -> bytes:
    """Empty elements of eight bytes each."""
    numbers = np.arange(MANY)
    entries = np.zeros((MANY, 4), "<u2")
    entries[:, 0], entries[:, 1] = 9 + 2 * (numbers // 0xF000), numbers % 0xF000
    entries[:, 2] = int.from_bytes(b"LO", "little")
    return entries.tobytes()


def sequence(begin: bytes, end: bytes = b"") -> bytes:
    return struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + begin + end


def before_all(more: bytes) -> bytes:
    at = data_set_at(OF_JPEG)
    return OF_JPEG[:at] + more + OF_JPEG[at:]


def in_fragments(fragments: bytes) -> bytes:
    at = OF_JPEG.index(b"\xe0\x7f\x10\0OB")
    return OF_JPEG[: at + 12] + fragments + END


def too_long_runs(num_pixels_in_one: int) -> bytes:
    """Runs of far more pixels than the image has."""
    segment = bytes((257 - num_pixels_in_one if num_pixels_in_one > 1 else 0, 7)) * MANY
    header = np.zeros(16, "<u4")
    header[:4] = 3, 64, 64 + len(segment), 64 + 2 * len(segment)
    return dicom(header.tobytes() + 3 * segment, SIZE, syntax=uid.RLELossless)


def tiles(side: int) -> bytes:
    """A JPEG 2000 that states another size, in tiles of this side, than it has data for."""
    stream = bytearray(j2k(PIXELS))
    struct.pack_into(">8L", stream, 8, 2000, 2000, 0, 0, side, side, 0, 0)
    return dicom(bytes(stream), (2000, 2000), syntax=uid.JPEG2000)


BOMBS = {
    "elements": before_all(elements()),
    "items": before_all(sequence(ITEM * MANY, END)),
    "items in items": before_all(sequence(b"") * MANY),
    "fragments": in_fragments(ITEM * MANY),
    "elements without end": before_all((struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 0xFFFFFFFF) + bytes(16)) * MANY),
    "runs of one pixel": too_long_runs(1),
    "long runs": too_long_runs(128),
    "tiles": tiles(1),
    "tiles without data": tiles(100),
    "segments": dicom(j2k(PIXELS)[:51] + bytes(8 * MANY), SIZE, syntax=uid.JPEG2000),
}
