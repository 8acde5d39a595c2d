"""Images with a patient's name in every place that may hold text."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin
from pydicom import uid
from pydicom.dataset import Dataset

from tests.service.imaging import dicoms
from tests.service.tiny_bundle import picture_bytes

PATIENT = "Zaphod-Quux-19520311"


def _profile() -> bytes:
    """A colour profile whose description is the patient's name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    name = PATIENT.encode("utf-16-be")
    at = profile.find("sRGB built-in".encode("utf-16-be"))
    assert at > 0
    profile[at : at + 26] = name[:26]
    return bytes(profile) + name


def _exif(picture: Image.Image) -> Image.Exif:
    exif = picture.getexif()
    for tag in (0x010E, 0x013B, 0x8298, 0x010F, 0x0110):  # description, artist, copyright, make, model
        exif[tag] = PATIENT
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + PATIENT.encode()  # user comment
    return exif


def planted_pictures(real: Image.Image) -> dict[str, bytes]:
    """The same image in every format, with the name in every place the format has for text."""
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>{PATIENT}</dc:creator></x:xmpmeta>'.encode()
    png = PngImagePlugin.PngInfo()
    png.add_text("Patient", PATIENT)
    png.add_itxt("XML:com.adobe.xmp", xmp.decode())
    png.add_text(PATIENT, "compressed " + PATIENT, zip=True)
    tiff = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (270, 315, 33432, 305, 316):
        tiff[tag] = PATIENT
    told = {"exif": _exif(real), "icc_profile": _profile()}
    options: dict[str, Any] = {
        "JPEG": {**told, "comment": PATIENT.encode(), "xmp": xmp},
        "PNG": {**told, "pnginfo": png},
        "WEBP": {**told, "xmp": xmp},
        "AVIF": {**told, "xmp": xmp},
        "TIFF": {"icc_profile": _profile(), "tiffinfo": tiff},
    }
    pictures = {}
    for name, more in options.items():
        buffer = io.BytesIO()
        real.save(buffer, name, **more)
        pictures[name] = buffer.getvalue() + PATIENT.encode()
        assert PATIENT.encode() in buffer.getvalue()
    return pictures


def planted_dicom_files(real: Image.Image) -> dict[str, bytes]:
    """DICOM files that are answered and refused, with the name in every element that may hold text."""
    named: dict[str, Any] = {
        **dict.fromkeys(dicoms.PATIENT, PATIENT),
        "StudyInstanceUID": "2.25.1",
        "SeriesInstanceUID": "2.25.2",
    }
    other = Dataset()
    other.PatientName, other.PatientID = PATIENT, PATIENT
    named |= {"OtherPatientIDsSequence": [other], "ImageComments": PATIENT, "ICCProfile": _profile()}
    jpeg = picture_bytes(real, "JPEG", exif=_exif(real), comment=PATIENT.encode())
    whole = dicoms.of_jpeg(jpeg, **named)
    pixels = np.asarray(real)
    refused: dict[str, dict[str, Any]] = {
        "kind": {"sop_class": PATIENT},
        "colours": {"photometric": PATIENT},
        "colour space": {"ColorSpace": PATIENT, "BurnedInAnnotation": PATIENT},
        "frames": {"NumberOfFrames": 2},
        "report": {"sop_class": uid.ComprehensiveSRStorage},
    }
    return {
        "JPEG": whole,
        "pixels": dicoms.of_array(pixels, **named),
        "cut off": whole[: len(whole) // 2],
        "cut off at the name": whole[: whole.index(PATIENT.encode()) + len(PATIENT)],
        "syntax": whole.replace(b"1.2.840.10008.1.2.4.50", PATIENT.encode()[:20] + b"42", 1),
        **{name: dicoms.of_array(pixels, **{**named, **more}) for name, more in refused.items()},
    }
