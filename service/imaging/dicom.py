"""What a DICOM file holds, read before a pixel is decoded (DICOM PS3.3, PS3.5, PS3.10).

A photograph of one frame passes; other files are refused by name. pydicom reads the data set, from a file whose reads
are counted: its time and memory grow with the number of elements, items and fragments, which can be eight bytes each.
Elements outside ``_ELEMENTS``, such as the patient's, are skipped. No text of the file gets into a message: names come
from the standard's dictionary, and errors of pydicom are not passed on.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from service.imaging.dicom_lesion import LESION_ELEMENTS, scale_of, tracking_of
from service.imaging.frame import Stated
from service.imaging.kinds import EXPORT, Kind, refusal
from service.imaging.picture import Caution, TooManyParts, Tracking, UndecodablePicture
from service.imaging.profiles import ADOBE_RGB, Colours

# Errors go to the sender; a warning may hold a value of the file. Pydicom gives each to Python, which would keep it,
# and to its log.
warnings.filterwarnings("ignore", module=r"pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

_MOST_READS = 5_000  # files of dermatoscopes take about 140

PHOTOGRAPHS = (
    "1.2.840.10008.5.1.4.1.1.77.1.7",  # dermoscopic photography
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # photography in visible light
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, and its siblings that may have several frames:
    "1.2.840.10008.5.1.4.1.1.7.2",  # grey of 8 bits
    "1.2.840.10008.5.1.4.1.1.7.3",  # grey of 16 bits
    "1.2.840.10008.5.1.4.1.1.7.4",  # colour
)

_DEFLATED = "1.2.840.10008.1.2.1.99"
_VIDEOS = "1.2.840.10008.1.2.4.10"  # how the identifiers of all of them begin
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN)
# Baseline, extended and, retired, progressive.
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.55")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
# The last three of high throughput.
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
RLE = ("1.2.840.10008.1.2.5",)

# Samples of a pixel by photometric interpretation, for each way to store pixels.
_GREY = {"MONOCHROME1": 1, "MONOCHROME2": 1}
_WITH_PALETTE = {**_GREY, "PALETTE COLOR": 1}
_SAMPLES: dict[tuple[str, ...], dict[str, int]] = {
    NATIVE: {**_WITH_PALETTE, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3},
    JPEG: {**_GREY, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3},
    JPEG_LS: {**_WITH_PALETTE, "RGB": 3, "YBR_FULL": 3},
    JPEG_2000: {**_WITH_PALETTE, "RGB": 3, "YBR_RCT": 3, "YBR_ICT": 3},
    RLE: {**_WITH_PALETTE, "RGB": 3, "YBR_FULL": 3},
}

# As DCF has it for cameras.
_ADOBE_RGB = Colours(ADOBE_RGB, 2.2)

_PIXEL_DATA = Tag("PixelData")
_NUMBERS = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
_TABLE, _TABLE_SIZE = "PaletteColorLookupTableData", "PaletteColorLookupTableDescriptor"
_ELEMENTS: list[BaseTag | int] = [
    Tag(name)
    for name in (
        *(*_NUMBERS, "SOPClassUID", "NumberOfFrames", "PhotometricInterpretation", "PlanarConfiguration", "PixelData"),
        *("ICCProfile", "ColorSpace", "BurnedInAnnotation", "RecognizableVisualFeatures", f"Red{_TABLE_SIZE}"),
        *LESION_ELEMENTS,
        *(f"{colour}{_TABLE}" for colour in ("Red", "Green", "Blue")),
    )
]


class Palette(NamedTuple):
    """A palette's tables for red, green and blue, as they are stored."""

    num_entries: int
    first: int  # the value that the first entry is for
    bits: int
    tables: tuple[bytes, ...]


class Dicom(NamedTuple):
    """A photograph as a DICOM file has it: its pixels as they are stored, and how to read them."""

    syntax: str  # the transfer syntax's identifier
    width: int
    height: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    is_planar: bool
    is_swapped: bool  # pairs of bytes, in words of which each has two pixels
    palette: Palette | None
    pixels: bytes
    stated: Stated
    cautions: tuple[Caution, ...]
    millimetres_per_pixel: float | None  # None: not stated, or not credible
    tracking: Tracking | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.width, self.height


class CountedReads(io.BytesIO):
    """A file that may be read from so many times."""

    left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise TooManyParts("too many elements, items or fragments")
        return super().read(size)


def read_dicom(data: bytes) -> Dicom:
    """The photograph in a DICOM file, with its pixels as they are stored; their number is not limited here.

    Raises :class:`UnsupportedPicture` for other objects, several frames, videos and pixels in other forms,
    :class:`UndecodablePicture` for a file that lacks something or contradicts itself, :class:`TooManyParts`, and what
    pydicom raises for damaged files.
    """
    syntax, stored, content = _read(data, _ELEMENTS, _PIXEL_DATA)
    _check_frames(content)
    photometric, samples = _check_pixels(content, _SAMPLES[stored])
    pixels, vr = content["PixelData"].value, content["PixelData"].VR
    if stored != NATIVE:
        pixels = get_frame(CountedReads(pixels), 0, number_of_frames=1)
    return Dicom(
        syntax=str(syntax),
        width=content.Columns,
        height=content.Rows,
        samples=samples,
        photometric=photometric,
        bits_allocated=content.BitsAllocated,
        bits_stored=content.BitsStored,
        is_planar=samples > 1 and content.get("PlanarConfiguration") == 1,
        is_swapped=syntax == BIG_ENDIAN and content.BitsAllocated == 8 and vr == "OW",
        palette=_palette(content) if photometric == "PALETTE COLOR" else None,
        pixels=pixels,
        stated=Stated(
            is_inverted=photometric == "MONOCHROME1",
            is_srgb=content.get("ColorSpace") == "SRGB",
            profile=content.get("ICCProfile") or None,
            colours=_ADOBE_RGB if content.get("ColorSpace") == "ADOBERGB" and not content.get("ICCProfile") else None,
        ),
        cautions=_cautions(content),
        millimetres_per_pixel=scale_of(content),
        tracking=tracking_of(content),
    )


def read_elements(data: bytes, names: Iterable[str]) -> Dataset:
    """The named elements of a photograph that precede its pixels, unless it lacks them; not decoded yet.

    Raises as :func:`read_dicom` does.
    """
    _, _, content = _read(data, [Tag(name) for name in ("SOPClassUID", *names)], _PIXEL_DATA - 1)
    return content


def _read(data: bytes, elements: list[BaseTag | int], last: int) -> tuple[UID, tuple[str, ...], Dataset]:
    """The transfer syntax, the way in which pixels are stored, and these elements up to the ``last`` one."""
    file = CountedReads(data)
    read_preamble(file, force=False)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    )
    _check_kind(meta.get("MediaStorageSOPClassUID"))
    syntax = UID(str(meta.get("TransferSyntaxUID") or ""))
    stored = _stored(syntax)
    content = read_dataset(
        file,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, vr, length: tag > last,
        specific_tags=elements,
    )
    if not len(content):  # cut off
        raise ValueError("no element was read")
    if "SOPClassUID" not in content:
        raise _lacks("SOPClassUID")
    _check_kind(content.SOPClassUID)
    return syntax, stored, content


def _check_kind(sop_class: object) -> None:
    """Refuse what is stated to be no photograph."""
    if sop_class is not None and sop_class not in PHOTOGRAPHS:
        name = _name(UID(str(sop_class))) or "of an unknown kind"
        raise refusal(
            Kind(
                f"a DICOM object and no photograph ({name})",
                "send dermoscopic or other photographs, or secondary captures; of this one, export the image as JPEG",
            )
        )


def _stored(syntax: UID) -> tuple[str, ...]:
    """The way in which pixels are stored, a key of ``_SAMPLES``."""
    if not syntax:
        raise _lacks("TransferSyntaxUID")
    if syntax == _DEFLATED:
        raise refusal(Kind("a DICOM file that is compressed as a whole (deflated)", f"store it as JPEG, or {EXPORT}"))
    if syntax.startswith(_VIDEOS):
        raise refusal(Kind("a video in a DICOM file", "export a single image of it as JPEG"))
    for stored in _SAMPLES:
        if syntax in stored:
            return stored
    name = _name(syntax) or "unknown"
    raise refusal(Kind(f"a DICOM file in a transfer syntax that is not read ({name})", EXPORT))


def _name(identifier: UID) -> str | None:
    """The standard's name; None for an identifier that it does not have."""
    return identifier.name if identifier.name != identifier else None


def _check_frames(content: Dataset) -> None:
    num_frames = int(content.get("NumberOfFrames") or 1)
    if num_frames != 1:
        kind = f"a DICOM file of {num_frames:,} frames"
        raise refusal(Kind(kind, "send one frame in a file of its own, or export it as JPEG"))


def _check_pixels(content: Dataset, possible: dict[str, int]) -> tuple[str, int]:
    """The photometric interpretation and the samples of a pixel, if pixels of this form are read."""
    for name in (*_NUMBERS, "PhotometricInterpretation", "PixelData"):
        if content.get(name) is None:
            raise _lacks(name)
    photometric, samples = str(content.PhotometricInterpretation), content.SamplesPerPixel
    if possible.get(photometric) != samples:
        raise _other_pixels("colours in a form that is not read")
    if content.PixelRepresentation != 0:
        raise _other_pixels("signed values")
    allocated, stored = content.BitsAllocated, content.BitsStored
    may_be_deep = photometric in _GREY or photometric in ("RGB", "YBR_RCT", "YBR_ICT")
    if allocated not in ((8, 16) if may_be_deep else (8,)) or not 8 <= stored <= allocated:
        raise _other_pixels(f"{stored} of {allocated} bits")
    if content.HighBit != stored - 1:
        raise _other_pixels("values that do not end at the lowest bit")
    return photometric, samples


def _palette(content: Dataset) -> Palette:
    for name in (f"Red{_TABLE_SIZE}", *(f"{colour}{_TABLE}" for colour in ("Red", "Green", "Blue"))):
        if not content.get(name):
            raise _lacks(name)
    num_entries, first, bits = map(int, content[f"Red{_TABLE_SIZE}"].value)
    tables = tuple(bytes(content[f"{colour}{_TABLE}"].value) for colour in ("Red", "Green", "Blue"))
    return Palette(num_entries or 65_536, first, bits, tables)


def _cautions(content: Dataset) -> tuple[Caution, ...]:
    stated: dict[Caution, str] = {
        "burned_in_annotation": "BurnedInAnnotation",
        "recognizable_features": "RecognizableVisualFeatures",
    }
    return tuple(caution for caution, name in stated.items() if content.get(name) == "YES")


def _lacks(name: str) -> UndecodablePicture:
    return UndecodablePicture(f"the DICOM file lacks {name}, or it is damaged; store it again, or {EXPORT}")


def _other_pixels(what: str) -> Exception:
    return refusal(Kind(f"a DICOM file with {what}", f"store it with 8 bits in RGB, or {EXPORT}"))
