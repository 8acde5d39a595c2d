"""What is no photograph of one frame is refused by its name, before its pixels are decoded; no patient is named."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.filewriter import write_file_meta_info

from service.imaging import (
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
    read_picture,
)
from tests.service.imaging.cases import DEEP, GREY, PIXELS, SIDE, YCBCR
from tests.service.imaging.dicoms import (
    COLOUR_FRAMES,
    PATIENT,
    data_set_at,
    dicom,
    of_array,
    of_jpeg,
    palette,
    run_lengths,
    written,
)
from tests.service.imaging.test_dicom import COLOURS, INDICES, JPEG, RED_GREEN_BLUE, compressed, j2k
from tests.service.tiny_bundle import picture_bytes

SIZE = (SIDE, SIDE)
WHOLE = of_array(PIXELS)
OF_JPEG = of_jpeg(JPEG)
STRUCTURED_REPORT = uid.ComprehensiveSRStorage


def without_pixels(sop_class: str, **elements: Any) -> bytes:
    stored = Dataset()
    stored.SOPClassUID, stored.SOPInstanceUID = sop_class, "2.25.4711"
    for name, value in {**PATIENT, **elements}.items():
        setattr(stored, name, value)
    return written(stored, uid.ExplicitVRLittleEndian)


def another_syntax(syntax: str) -> bytes:
    """A file whose header states another transfer syntax than its data set is in."""
    meta = dcmread(DicomBytesIO(WHOLE)).file_meta
    meta.TransferSyntaxUID = uid.UID(syntax)
    header = DicomBytesIO()
    write_file_meta_info(header, meta)
    return WHOLE[:132] + header.getvalue() + WHOLE[data_set_at(WHOLE) :]


def nested(depth: int) -> bytes:
    """A sequence in a sequence, so many times, before everything else."""
    at = data_set_at(WHOLE)
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return WHOLE[:at] + begin * depth + end * depth + WHOLE[at:]


# By name: the error, words of its text, and the file.
REFUSED: dict[str, tuple[type[PictureError], str, bytes]] = {
    "report": (UnsupportedPicture, "Comprehensive SR Storage", without_pixels(STRUCTURED_REPORT)),
    "document": (
        UnsupportedPicture,
        "Encapsulated PDF Storage",
        without_pixels(uid.EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF-1.4 "),
    ),
    "radiology": (UnsupportedPicture, "CT Image Storage", of_array(GREY, "MONOCHROME2", sop_class=uid.CTImageStorage)),
    "unknown kind": (UnsupportedPicture, "of an unknown kind", of_array(PIXELS, sop_class="2.25.4711")),
    "several frames": (
        UnsupportedPicture,
        "3 frames",
        of_array(np.concatenate([PIXELS] * 3), sop_class=COLOUR_FRAMES, NumberOfFrames=3, Rows=SIDE),
    ),
    "frames without end": (UnsupportedPicture, "100,000 frames", of_array(PIXELS, NumberOfFrames=100_000)),
    "video": (UnsupportedPicture, "video", another_syntax("1.2.840.10008.1.2.4.102")),
    "deflated": (UnsupportedPicture, "deflated", another_syntax(uid.DeflatedExplicitVRLittleEndian)),
    "lossless JPEG": (UnsupportedPicture, "JPEG Lossless", another_syntax(uid.JPEGLosslessSV1)),
    "unknown transfer syntax": (UnsupportedPicture, "unknown", another_syntax("2.25.4711")),
    "12 bits in JPEG": (
        UnsupportedPicture,
        "12 bits",
        dicom(
            compressed("jpeg8", TWELVE := DEEP >> 4, bitspersample=12),
            SIZE,
            syntax=uid.JPEGExtended12Bit,
            bits=(16, 12),
            photometric="RGB",
        ),
    ),
    "signed": (UnsupportedPicture, "signed", of_array(GREY, "MONOCHROME2", PixelRepresentation=1)),
    "32 bits": (UnsupportedPicture, "32 of 32 bits", of_array(PIXELS.astype(np.uint32))),
    "1 bit": (UnsupportedPicture, "1 of 1 bits", of_array(GREY, "MONOCHROME2", bits=(1, 1))),
    "bits at the top": (UnsupportedPicture, "lowest bit", of_array(DEEP, bits=(16, 12), HighBit=15)),
    "other colours": (UnsupportedPicture, "colours", of_array(PIXELS, "HSV")),
    "palette in JPEG": (
        UnsupportedPicture,
        "colours",
        of_jpeg(picture_bytes(Image.fromarray(GREY), "JPEG"), "PALETTE COLOR", **palette(COLOURS)),
    ),
    "palette of 16 bits": (
        UnsupportedPicture,
        "16 of 16 bits",
        of_array(INDICES.astype(np.uint16), "PALETTE COLOR", **palette(COLOURS)),
    ),
    "three values, one channel": (UnsupportedPicture, "colours", of_array(PIXELS, "MONOCHROME2")),
    "colours of half a pixel": (UnsupportedPicture, "layout", of_array(YCBCR[:, :35], "YBR_FULL_422")),
    "JPEG says RGB, file YCbCr": (UndecodablePicture, "other colours", of_jpeg(RED_GREEN_BLUE, "YBR_FULL")),
    "JPEG says YCbCr, file RGB": (UndecodablePicture, "other colours", of_jpeg(JPEG, "RGB")),
    "JPEG is grey": (
        UndecodablePicture,
        "other colours",
        of_jpeg(picture_bytes(Image.fromarray(GREY), "JPEG"), "YBR_FULL", samples=3),
    ),
    "JPEG of another size": (UndecodablePicture, "64 x 32", of_jpeg(JPEG, Rows=SIDE // 2)),
    "JPEG-LS of another size": (
        UndecodablePicture,
        "64 x 32",
        dicom(compressed("jpegls", PIXELS), (SIDE, SIDE // 2), syntax=uid.JPEGLSLossless),
    ),
    "JPEG-LS of other bits": (
        UndecodablePicture,
        "other values",
        dicom(compressed("jpegls", DEEP), SIZE, syntax=uid.JPEGLSLossless),
    ),
    "JPEG-LS without its end": (
        UndecodablePicture,
        "truncated",
        dicom(compressed("jpegls", PIXELS)[:-3], SIZE, syntax=uid.JPEGLSLossless),
    ),
    "JPEG 2000 of another size": (
        UndecodablePicture,
        "64 x 32",
        dicom(j2k(PIXELS), (SIDE, SIDE // 2), syntax=uid.JPEG2000),
    ),
    "JPEG 2000 of other bits": (
        UndecodablePicture,
        "other values",
        dicom(j2k(DEEP), SIZE, syntax=uid.JPEG2000, bits=(16, 12)),
    ),
    "JPEG 2000 in a container": (
        UndecodablePicture,
        "holds none",
        dicom(compressed("jpeg2k", PIXELS, codecformat="jp2"), SIZE, syntax=uid.JPEG2000),
    ),
    "no JPEG": (UndecodablePicture, "holds none", dicom(b"%PDF-1.4", SIZE, syntax=uid.JPEGBaseline8Bit)),
    "runs of other channels": (
        UndecodablePicture,
        "segments",
        dicom(run_lengths(GREY), SIZE, syntax=uid.RLELossless),
    ),
    "too few pixels": (UndecodablePicture, "bytes of pixels", of_array(PIXELS, Rows=SIDE + 1)),
    "too many pixels": (UndecodablePicture, "bytes of pixels", of_array(PIXELS, Rows=SIDE - 1)),
    "too small": (UndecodablePicture, "31 x 64", of_array(PIXELS[:, :31])),
    "palette without its tables": (UndecodablePicture, "lacks RedPalette", of_array(INDICES, "PALETTE COLOR")),
    "cut off in the pixels": (UndecodablePicture, "bytes of pixels", WHOLE[: len(WHOLE) // 2]),
    "cut off in a fragment": (UndecodablePicture, "truncated", OF_JPEG[:-500]),
    "cut off in the data set": (UndecodablePicture, "lacks", WHOLE[:500]),
    "cut off in the header": (UndecodablePicture, "lacks TransferSyntaxUID", WHOLE[:140]),
    "too many pixels for the limit": (PictureTooLarge, "60000 x 60000", of_array(PIXELS, Rows=60_000, Columns=60_000)),
    "too many pixels of a JPEG": (PictureTooLarge, "60000 x 60000", of_jpeg(JPEG, Rows=60_000, Columns=60_000)),
    "nested too deeply": (UndecodablePicture, "truncated or corrupt", nested(900)),
    "nested without end": (UndecodablePicture, "truncated or corrupt", nested(30_000)),
    **{
        f"lacks {name}": (UndecodablePicture, f"lacks {name}", of_array(PIXELS, without=(name,)))
        for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel")
    },
    **{
        f"lacks {name}": (UndecodablePicture, f"lacks {name}", of_array(PIXELS, without=(name,)))
        for name in ("PhotometricInterpretation", "PixelRepresentation", "PixelData", "SOPClassUID")
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name: str) -> None:
    error, words, data = REFUSED[name]
    with pytest.raises(PictureError, match=words) as refused:
        read_picture(data, 48)
    assert type(refused.value) is error
    detail = str(refused.value)
    assert any(advice in detail for advice in ("export", "send", "limit", "save")), detail
    for value in PATIENT.values():
        assert value not in detail


def test_a_nested_sequence_that_others_may_write_is_skipped() -> None:
    assert np.array_equal(read_picture(nested(20), SIDE).frame, PIXELS)


def test_the_limit_of_pixels_holds_before_any_is_decoded() -> None:
    limits = PictureLimits(max_pixels=SIDE * SIDE - 1)
    for data in (WHOLE, dicom(b"no JPEG-LS", SIZE, syntax=uid.JPEGLSLossless), of_jpeg(JPEG, Rows=5 * SIDE)):
        with pytest.raises(PictureTooLarge):
            read_picture(data, 48, limits)
