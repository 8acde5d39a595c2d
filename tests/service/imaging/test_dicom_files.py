"""Files of other software, which come with pydicom: read as others read them, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from service.imaging import PictureError, UnsupportedPicture, read_picture
from service.imaging.kinds import is_dicom
from tests.service.tiny_bundle import picture_bytes
from tests.service.wire import check_problem, post

FOLDER = Path(pydicom.__file__).parent / "data"
FILES = {path.name: path for path in sorted(FOLDER.rglob("*")) if path.is_file() and path.suffix != ".pyc"}

READ = (
    *("chrArab.dcm", "chrFren.dcm", "chrFrenMulti.dcm", "chrGerm.dcm", "chrGreek.dcm", "chrH31.dcm", "chrH32.dcm"),
    *("chrHbrw.dcm", "chrI2.dcm", "chrRuss.dcm", "chrX1.dcm", "chrX2.dcm"),
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
)


# Pydicom converts its colours with floats.
ROUNDED = "SC_ybr_full_422_uncompressed.dcm"


def reference(path: Path) -> NDArray[np.uint8]:
    """The pixels as pydicom reads them, or imagecodecs, in 8 bits."""
    stored = pydicom.dcmread(path)
    if stored.file_meta.TransferSyntaxUID in uid.JPEG2000TransferSyntaxes:
        pixels: NDArray[Any] = imagecodecs.jpeg2k_decode(get_frame(stored.PixelData, 0, number_of_frames=1))
    else:
        pixels = pixel_array(path, index=0)
    return (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)


@pytest.mark.parametrize("name", READ)
def test_files_of_other_software_are_read_as_others_read_them(name: str) -> None:
    expected = reference(FILES[name]).astype(int)
    frame = read_picture(FILES[name].read_bytes(), len(expected)).frame
    difference = np.abs(frame - expected.reshape(*expected.shape[:2], -1))
    assert difference.max() <= (name == ROUNDED)


@pytest.mark.filterwarnings("ignore")  # of pydicom, about its own files
@pytest.mark.parametrize("name", [name for name, path in FILES.items() if is_dicom(path.read_bytes())])
def test_every_other_file_is_refused_and_no_patient_is_named(name: str) -> None:
    if name in READ:
        return
    with pytest.raises(PictureError) as refused:
        read_picture(FILES[name].read_bytes(), 64)
    detail = str(refused.value)
    assert "DICOM" in detail or "JPEG" in detail
    stored = pydicom.dcmread(FILES[name], stop_before_pixels=True)
    for element in ("PatientName", "PatientID", "SOPInstanceUID"):
        assert not stored.get(element) or str(stored[element].value) not in detail
    if stored.get("SOPClassUID", uid.SecondaryCaptureImageStorage) != uid.SecondaryCaptureImageStorage:
        assert isinstance(refused.value, UnsupportedPicture)
        assert uid.UID(stored.SOPClassUID).name in detail or "deflated" in detail


@pytest.mark.filterwarnings("ignore")
def test_every_file_gets_the_answer_of_its_picture_or_a_problem(client: TestClient) -> None:
    for name, path in FILES.items():
        answer = post(client, path.read_bytes(), "application/dicom")
        if name not in READ:
            check_problem(answer, answer.status_code)
            assert answer.status_code in (415, 422), (name, answer.text)
            continue
        picture = picture_bytes(Image.fromarray(reference(path)), "PNG")
        assert answer.status_code == 200, (name, answer.text)
        expected = post(client, picture).json()["probabilities"]
        assert answer.json()["probabilities"] == pytest.approx(expected, abs=0.01 if name == ROUNDED else 0), name
