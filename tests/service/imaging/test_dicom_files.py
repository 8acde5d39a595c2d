"""Files of other software, which come with pydicom: read as others read them, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from service.imaging import PictureError, UnsupportedPicture, read_picture

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = [path for path in sorted(FOLDER.rglob("*")) if path.is_file() and path.read_bytes()[128:132] == b"DICM"]

READ = (
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


def reference(path: Path) -> NDArray[np.int_]:
    """The pixels as pydicom reads them, or imagecodecs, in 8 bits."""
    stored = pydicom.dcmread(path)
    if stored.file_meta.TransferSyntaxUID in uid.JPEG2000TransferSyntaxes:
        pixels: NDArray[Any] = imagecodecs.jpeg2k_decode(get_frame(stored.PixelData, 0, number_of_frames=1))
    else:
        pixels = pixel_array(path, index=0)
    return (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(int)


@pytest.mark.parametrize("name", READ)
def test_files_of_other_software_are_read_as_others_read_them(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    expected = reference(path)
    difference = np.abs(read_picture(path.read_bytes(), len(expected)).frame - expected)
    assert difference.max() <= (name == "SC_ybr_full_422_uncompressed.dcm")  # pydicom converts with floats


@pytest.mark.filterwarnings("ignore")  # of pydicom, about its own files
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_other_file_is_refused_and_no_patient_is_named(path: Path) -> None:
    if path.name in READ:
        return
    with pytest.raises(PictureError) as refused:
        read_picture(path.read_bytes(), 64)
    detail = str(refused.value)
    assert "DICOM" in detail or "JPEG" in detail
    stored = pydicom.dcmread(path, stop_before_pixels=True)
    for name in ("PatientName", "PatientID", "SOPInstanceUID"):
        assert not stored.get(name) or str(stored[name].value) not in detail
    if stored.get("SOPClassUID", uid.SecondaryCaptureImageStorage) != uid.SecondaryCaptureImageStorage:
        assert isinstance(refused.value, UnsupportedPicture)
        assert uid.UID(stored.SOPClassUID).name in detail or "deflated" in detail
