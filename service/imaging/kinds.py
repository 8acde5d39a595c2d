"""What a file is, by its first bytes, and how to make a picture of it that is accepted."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from service.imaging.picture import CostlyPicture, UndecodablePicture, UnsupportedPicture

Format = Literal["JPEG", "PNG", "WEBP", "TIFF", "BMP"]
FORMATS: tuple[Format, ...] = get_args(Format)
NAMES: dict[Format, str] = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "TIFF": "TIFF", "BMP": "BMP"}

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF

_ACCEPTED = "JPEG, PNG, WebP, TIFF or BMP"

_SAVE = "open it in a photo app and save it as JPEG"
_HEIC = (
    "on an iPhone set Settings, Camera, Formats to Most Compatible, or share the photo by mail; on a Mac export it as "
    "JPEG from Preview, on Windows save it as JPEG from Photos"
)
_RAW = "export it as JPEG from the camera or from photo software"
_DOCUMENT = "export the picture in it as JPEG"


class Kind(NamedTuple):
    """A kind of file that is not accepted: its name, and how to make a picture of it."""

    name: str
    advice: str = _SAVE


_UNKNOWN = Kind("no kind of picture that the service knows")
CAMERA_RAW = Kind("a camera's raw file", _RAW)

# By the bytes at a position; the first that match.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"GIF8", Kind("a GIF picture")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", Kind("a JPEG XL picture")),
    (0, b"\xff\x0a", Kind("a JPEG XL picture")),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", Kind("a JPEG 2000 picture")),
    (0, b"\xff\x4f\xff\x51", Kind("a JPEG 2000 picture")),
    (0, b"II\xbc\x01", Kind("a JPEG XR picture")),
    (0, b"8BPS", Kind("a Photoshop document")),
    (0, b"v/1\x01", Kind("an OpenEXR picture")),
    (0, b"#?RADIANCE", Kind("a Radiance HDR picture")),
    (0, b"SIMPLE  =", Kind("a FITS file")),
    (0, b"\0\0\x01\0", Kind("an icon")),
    *((0, b"P%d%c" % (number, space), Kind("a Netpbm picture")) for number in range(1, 8) for space in b"\n\r\t "),
    (128, b"DICM", Kind("a DICOM object", "export the image as JPEG from the viewer or the archive (PACS)")),
    (0, b"FUJIFILMCCD-RAW", CAMERA_RAW),
    (0, b"IIRO", CAMERA_RAW),
    (0, b"IIRS", CAMERA_RAW),
    (0, b"MMOR", CAMERA_RAW),
    (0, b"IIU\0", CAMERA_RAW),
    (0, b"FOVb", CAMERA_RAW),
    (0, b"\0MRM", CAMERA_RAW),
    (6, b"HEAPCCDR", CAMERA_RAW),
    (0, b"%PDF", Kind("a PDF document", _DOCUMENT)),
    (0, b"%!PS", Kind("a PostScript document", _DOCUMENT)),
    (0, b"\xc5\xd0\xd3\xc6", Kind("a PostScript document", _DOCUMENT)),
    (0, b"\xd0\xcf\x11\xe0", Kind("an Office document or a microscope's file", _DOCUMENT)),
    (0, b"PK\x03\x04", Kind("a ZIP archive or an Office document", "send the pictures in it, one by one")),
    (0, b"\x1f\x8b", Kind("a compressed archive", "send the pictures in it, one by one")),
    (0, b"7z\xbc\xaf", Kind("a compressed archive", "send the pictures in it, one by one")),
    (0, b"Rar!", Kind("a compressed archive", "send the pictures in it, one by one")),
    (0, b"\x1aE\xdf\xa3", Kind("a video", "send a photo instead")),
    (0, b"\0\0\x01\xba", Kind("a video", "send a photo instead")),
    (8, b"AVI ", Kind("a video", "send a photo instead")),
)

# ISO base media files, by their major brand; HEIF's own brands say nothing, so the compatible ones count.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_BRANDS: tuple[tuple[tuple[bytes, ...], Kind], ...] = (
    ((b"avif", b"avis"), Kind("an AVIF picture")),
    (_HEIC_BRANDS, Kind("a HEIC photo of a phone", _HEIC)),
    ((b"mif1", b"msf1", b"mif2"), Kind("a HEIF photo", _HEIC)),
    ((b"crx ",), CAMERA_RAW),
    ((b"jp2 ", b"jpx ", b"jph "), Kind("a JPEG 2000 picture")),
)
_VIDEO = Kind("a video", "send a photo instead")

# Of BMP's headers, by their size; text may begin with its signature, too.
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
# Bytes that some tools put before a picture, such as an empty line.
_MOST_STRAY = 16


def format_of(data: bytes) -> Format:
    """The accepted format that a file's signature states. Raises :class:`UnsupportedPicture` for another kind."""
    if data.startswith(JPEG_SIGNATURE):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(TIFF_SIGNATURES):
        return "TIFF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    name, advice = _kind_of(data)
    raise refusal(Kind(name, f"{advice}; the service takes {_ACCEPTED}"))


def refusal(kind: Kind) -> UnsupportedPicture:
    """Why a file of this kind is not accepted."""
    return UnsupportedPicture(f"this is {kind.name}: {kind.advice}")


def damaged(data: bytes) -> UndecodablePicture:
    """Why a file of an accepted format cannot be decoded."""
    advice = "send the original file again, or open it in a photo app and save it as JPEG"
    return UndecodablePicture(f"the {NAMES[format_of(data)]} is truncated or corrupt; {advice}")


def costly(data: bytes) -> CostlyPicture:
    """Why a file of an accepted format is not decoded to its end."""
    advice = "save it as a smaller or plain JPEG"
    return CostlyPicture(f"the {NAMES[format_of(data)]} takes too much memory or time to decode; {advice}")


def _kind_of(data: bytes) -> Kind:
    if data[4:8] == b"ftyp":
        size = min(max(16, int.from_bytes(data[:4])), 256)
        brands = [data[8:12], *(data[at : at + 4] for at in range(16, size, 4))]
        return next((kind for names, kind in _BRANDS if any(brand in names for brand in brands)), _VIDEO)
    for position, signature, kind in _SIGNATURES:
        if data.startswith(signature, position):
            return kind
    if JPEG_SIGNATURE in data[:_MOST_STRAY] or PNG_SIGNATURE in data[:_MOST_STRAY]:
        return Kind("a picture behind bytes that are not its own")
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        return Kind("an SVG drawing or a web page", "send a photo instead")
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return Kind("text", "send a photo instead")
    return _UNKNOWN
