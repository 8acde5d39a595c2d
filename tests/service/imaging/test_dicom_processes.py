"""DICOM in child processes: the same frames, bounded work, and nothing of it in the service's own process."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from service.imaging import CostlyPicture, Picture, PictureError, UndecodablePicture, read_picture
from service.imaging.decoder_pool import COSTLY, ORDINARY, DecoderPool
from tests.conftest import REPOSITORY
from tests.service.decoders import decoders
from tests.service.imaging.cases import DEEP, PIXELS
from tests.service.imaging.dicoms import data_set_at, dicom, of_array, of_jpeg, run_lengths
from tests.service.imaging.pools import FRAME, PICTURE, Pools, decode
from tests.service.imaging.test_dicom import JPEG, SIZE, j2k

OF_JPEG = of_jpeg(
    JPEG, BurnedInAnnotation="YES", PixelSpacing=["0.2", "0.2"], TrackingUID="2.25.77", StudyDate="20260105"
)
FILES = [
    OF_JPEG,
    of_array(DEEP),
    dicom(run_lengths(PIXELS), SIZE, syntax=uid.RLELossless),
    dicom(j2k(PIXELS), SIZE, syntax=uid.JPEG2000Lossless),
]


def test_a_child_decodes_dicom_as_this_process_does(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> list[Picture]:
        await decode(pool, PICTURE)  # by a process that may read no DICOM
        return [await decode(pool, data) for data in [*FILES, PICTURE]]

    for data, decoded in zip([*FILES, PICTURE], pools.run(job, jpeg_quality=75), strict=True):
        expected = read_picture(data, FRAME, jpeg_quality=75)
        assert np.array_equal(decoded.frame, expected.frame)
        assert replace(decoded, frame=expected.frame) == expected
    assert pools.replaced == []


def test_a_process_that_reads_dicom_is_kept_for_the_next_picture(pools: Pools) -> None:
    async def job(pool: DecoderPool) -> None:
        await decode(pool, OF_JPEG)
        (process,) = decoders()
        for data in (PICTURE, OF_JPEG):
            await decode(pool, data)
            assert decoders() == [process]

    pools.run(job)


@pytest.mark.integration
def test_what_reads_dicom_is_never_loaded_by_the_service(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(OF_JPEG)
    program = """
import sys
from service.cli.main import app
try:
    app(["predict", sys.argv[1], "--json"])
except SystemExit as end:
    assert end.code == 0, end.code
assert not {"pydicom", "_CharLS", "service.imaging.dicom"} & sys.modules.keys()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a.dcm")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"format":"DICOM"' in done.stdout.replace(" ", "")


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


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_within_the_ordinary_limits(pools: Pools, name: str) -> None:
    with pytest.raises(UndecodablePicture):
        pools.run(lambda pool: pool.decode(BOMBS[name], "a"), ordinary=ORDINARY)
    assert pools.replaced == []


def test_what_needs_too_much_memory_is_not_begun(pools: Pools) -> None:
    large = dicom(b"no JPEG 2000", (6000, 6000), syntax=uid.JPEG2000)
    with pytest.raises(CostlyPicture, match="DICOM"):
        pools.run(lambda pool: pool.decode(large, "a"), ordinary=ORDINARY, costly=COSTLY)
    assert pools.replaced == []


def test_an_image_that_is_large_for_its_format_is_decoded_among_the_costly_ones(pools: Pools) -> None:
    large = dicom(j2k(np.zeros((2600, 2600, 3), np.uint8)), (2600, 2600), syntax=uid.JPEG2000)
    assert pools.run(lambda pool: decode(pool, large), ordinary=ORDINARY, costly=COSTLY).width == 2600
    with pytest.raises(PictureError):
        pools.run(lambda pool: pool.decode(large, "a"), ordinary=ORDINARY, costly=ORDINARY)
