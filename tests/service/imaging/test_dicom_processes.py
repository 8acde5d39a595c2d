"""DICOM in child processes: the same frames, bounded work, and nothing of it in the service's own process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from service.imaging import CostlyPicture, Picture, PictureError, UndecodablePicture, read_picture
from service.imaging.decoder_pool import COSTLY, ORDINARY, DecoderPool
from tests.paths import REPOSITORY
from tests.service.decoders import decoders
from tests.service.imaging.cases import DEEP, PIXELS
from tests.service.imaging.dicom_bombs import BOMBS, OF_JPEG
from tests.service.imaging.dicoms import dicom, of_array, run_lengths
from tests.service.imaging.pools import FRAME, PICTURE, Pools, decode
from tests.service.imaging.test_dicom import SIZE, j2k

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
