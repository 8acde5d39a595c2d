"""DICOM files made for tests: an image in every way to store one, and files that are refused."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite

DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.7"
PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.4"
CAPTURE = uid.SecondaryCaptureImageStorage
COLOUR_FRAMES = uid.MultiFrameTrueColorSecondaryCaptureImageStorage
PROGRESSIVE = uid.UID("1.2.840.10008.1.2.4.55")

# Of a person who is not to be found anywhere else.
PATIENT = {
    "PatientName": "Nachname^Vorname",
    "PatientID": "KENNUNG-4711",
    "PatientBirthDate": "19700102",
    "IssuerOfPatientID": "AUSSTELLER-4711",
    "AccessionNumber": "AUFTRAG-4711",
    "StudyDescription": "UNTERSUCHUNG-4711",
    "StudyInstanceUID": "2.25.471147114711",
}


def dicom(
    pixels: bytes,
    size: tuple[int, int],
    *,
    syntax: str = uid.ExplicitVRLittleEndian,
    sop_class: str = DERMOSCOPY,
    photometric: str = "RGB",
    samples: int = 3,
    bits: tuple[int, int] = (8, 8),
    fragments: int = 1,
    without: tuple[str, ...] = (),
    **elements: Any,
) -> bytes:
    """A DICOM file of one image; ``size`` is width and height, ``bits`` are allocated and stored.

    ``pixels`` are as they are stored; where that is compressed, they become that many fragments.
    """
    stored: Dataset = Dataset()
    stored.SOPClassUID, stored.SOPInstanceUID = uid.UID(sop_class), uid.UID("2.25.4711")
    stored.SpecificCharacterSet = "ISO_IR 192"
    stored.SamplesPerPixel, stored.PhotometricInterpretation = samples, photometric
    stored.Columns, stored.Rows = size
    stored.BitsAllocated, stored.BitsStored = bits
    stored.HighBit, stored.PixelRepresentation = bits[1] - 1, 0
    if samples > 1:
        stored.PlanarConfiguration = 0
    is_compressed = uid.UID(syntax).is_encapsulated
    if is_compressed:
        pixels = encapsulate([pixels], fragments_per_frame=fragments)
    stored.add_new("PixelData", "OB" if is_compressed or bits[0] == 8 else "OW", pixels)
    stored["PixelData"].is_undefined_length = is_compressed
    for name, value in {**PATIENT, **elements}.items():
        setattr(stored, name, value)
    for name in without:
        delattr(stored, name)
    return written(stored, syntax)


def written(stored: Dataset, syntax: str) -> bytes:
    """A data set as a file in a transfer syntax."""
    stored.file_meta = FileMetaDataset()
    stored.file_meta.TransferSyntaxUID = uid.UID(syntax)
    stored.file_meta.MediaStorageSOPClassUID = stored.get("SOPClassUID", CAPTURE)
    stored.file_meta.MediaStorageSOPInstanceUID = uid.UID("2.25.4711")
    file = io.BytesIO()
    dcmwrite(file, stored, enforce_file_format=True)
    return file.getvalue()


def of_jpeg(jpeg: bytes, photometric: str = "YBR_FULL_422", **options: Any) -> bytes:
    """A DICOM file that holds a JPEG."""
    with Image.open(io.BytesIO(jpeg)) as image:
        size, samples = image.size, len(image.getbands())
    return dicom(
        jpeg, size, **{"syntax": uid.JPEGBaseline8Bit, "photometric": photometric, "samples": samples, **options}
    )


def of_array(pixels: NDArray[Any], photometric: str = "RGB", **options: Any) -> bytes:
    """A DICOM file of an array, [rows, columns] or [rows, columns, 3], of 8 or 16 bits, uncompressed."""
    rows, columns, *samples = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    chosen = {"photometric": photometric, "samples": samples[0] if samples else 1, "bits": (depth, depth), **options}
    return dicom(pixels.tobytes(), (columns, rows), **chosen)


def run_lengths(pixels: NDArray[Any]) -> bytes:
    """RLE of PS3.5, Annex G: one segment for each byte of each sample, each compressed by an independent PackBits."""
    rows, columns, *_ = pixels.shape
    planes = pixels.reshape(rows, columns, -1).astype(pixels.dtype.newbyteorder(">"))
    single = planes.view(np.uint8).reshape(rows, columns, -1)
    segments = [imagecodecs.packbits_encode(single[..., at].tobytes()) for at in range(single.shape[2])]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    starts = 64 + np.cumsum([0, *map(len, segments[:-1])])
    header = np.zeros(16, "<u4")
    header[0], header[1 : 1 + len(segments)] = len(segments), starts
    return header.tobytes() + b"".join(segments)


def subsampled(ycbcr: NDArray[np.uint8]) -> bytes:
    """YBR_FULL_422: of two pixels both values of brightness, and the colours of the first."""
    pairs = np.empty((ycbcr.shape[0], ycbcr.shape[1] // 2, 4), np.uint8)
    pairs[..., 0], pairs[..., 1] = ycbcr[:, 0::2, 0], ycbcr[:, 1::2, 0]
    pairs[..., 2], pairs[..., 3] = ycbcr[:, 0::2, 1], ycbcr[:, 0::2, 2]
    return pairs.tobytes()


def palette(colours: NDArray[np.integer[Any]], first: int = 0) -> dict[str, Any]:
    """The elements of a palette, [entries, 3], of 8 or 16 bits."""
    bits = 8 * colours.dtype.itemsize
    elements: dict[str, Any] = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours) % 65_536, first, bits]
        elements[f"{name}PaletteColorLookupTableData"] = colours[:, channel].tobytes()
    return elements


def data_set_at(data: bytes) -> int:
    """Where the data set begins, behind preamble and header."""
    return 132 + 12 + int(dcmread(DicomBytesIO(data)).file_meta.FileMetaInformationGroupLength)
