"""What a file is, by its first bytes, and how to make an image of it that is accepted.

Another format needs its first bytes here, a check of its structure in a module of its own (:mod:`structure` calls it),
and a reader in :mod:`decode`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

from service.imaging.picture import CostlyPicture, UndecodablePicture, UnsupportedPicture

Format = Literal["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "DICOM"]
FORMATS: tuple[Format, ...] = get_args(Format)
NAMES: dict[Format, str] = {
    **{"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "TIFF": "TIFF", "BMP": "BMP", "AVIF": "AVIF"},
    "DICOM": "DICOM file",
}
# Whether what the extra ``dicom`` installs is there.
READS_DICOM = all(find_spec(package) for package in ("pydicom", "_CharLS"))
# Whether Pillow was built with its decoder of AVIF, as its wheels are.
READS_AVIF = find_spec("PIL._avif") is not None

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
# Behind a preamble, which is usually empty.
_DICOM_SIGNATURE, _DICOM_POSITION = b"DICM", 128
DICOM_START = _DICOM_POSITION + len(_DICOM_SIGNATURE)  # bytes that tell a DICOM file

_OPTIONAL = [name for name, is_read in {"AVIF": READS_AVIF, "DICOM": READS_DICOM}.items() if is_read]
_ACCEPTED = " or ".join(", ".join(["JPEG", "PNG", "WebP", "TIFF", "BMP", *_OPTIONAL]).rsplit(", ", 1))

_SAVE = "open it in a photo app and save it as JPEG"
_HEIC_ADVICE = (
    "on an iPhone set Settings, Camera, Formats to Most Compatible, or share the photo by mail; on a Mac export it as "
    "JPEG from Preview, on Windows save it as JPEG from Photos"
)
_RAW = "export it as JPEG from the camera or from photo software"
_DOCUMENT = "export the image in it as JPEG"
EXPORT = "export the image as JPEG from the viewer or the archive (PACS)"


class Kind(NamedTuple):
    """A kind of file that is not accepted: its name, and how to make an image of it."""

    name: str
    advice: str = _SAVE


_UNKNOWN = Kind("no kind of image that the service knows")
CAMERA_RAW = Kind("a camera's raw file", _RAW)
HEIC = Kind("a HEIC photo of a phone", _HEIC_ADVICE)

_DICOM = Kind("a DICOM file", f"install the service with its extra [dicom], which reads such files, or {EXPORT}")
_DICOM_DATA_SET = Kind("a DICOM data set without the header of a file", f"store it as a DICOM file, or {EXPORT}")
_ARCHIVE = Kind("a compressed archive", "send the images in it, one by one")
_DRAWING = Kind("a Windows metafile", _DOCUMENT)
_VIDEO = Kind("a video", "send a photo instead")
_BASE64 = Kind("an image written as text (base64)", "decode it first, and send its bytes")
_VOLUME = Kind("a NIfTI volume", _DOCUMENT)
_WITHOUT_CONTENT = Kind("a file of zeros, whose content was lost", "send a copy that opens in a photo app")
_CHANGED = Kind("a file whose bytes were changed as if it were text", "send the original file, as it is")

# How DICOM data sets begin that have no preamble: a header's group, element and type or, without types, length; without
# a header, the elements that come first, in both byte orders.
_DICOM_ELEMENTS = (
    *(b"\x02\0\0\0UL", b"\x02\0\x01\0OB", b"\x02\0\x02\0UI", b"\x02\0\x10\0UI", b"\x02\0\0\0\4\0\0\0"),
    *(b"\x08\0\0\0UL", b"\x08\0\0\0\4\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0"),
    *(b"\0\x08\0\0UL", b"\0\x08\0\x05", b"\0\x08\0\x08", b"\0\x08\0\x16"),
)

# By the bytes at a position; the first that match.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"GIF8", Kind("a GIF image")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", Kind("a JPEG XL image")),
    (0, b"\xff\x0a", Kind("a JPEG XL image")),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", Kind("a JPEG 2000 image")),
    (0, b"\xff\x4f\xff\x51", Kind("a JPEG 2000 image")),
    (0, b"II\xbc\x01", Kind("a JPEG XR image")),
    (0, b"8BPS", Kind("a Photoshop document")),
    (0, b"gimp xcf", Kind("a GIMP document")),
    (0, b"AT&TFORM", Kind("a DjVu document", _DOCUMENT)),
    (0, b"ZISRAWFILE", Kind("a microscope's file", _DOCUMENT)),
    (0, b"DDS ", Kind("a DDS image")),
    (0, b"\x01\xda", Kind("an SGI image")),
    (0, b"\x59\xa6\x6a\x95", Kind("a Sun raster image")),
    (0, b"v/1\x01", Kind("an OpenEXR image")),
    (0, b"#?RADIANCE", Kind("a Radiance HDR image")),
    (0, b"SIMPLE  =", Kind("a FITS file")),
    (0, b"\0\0\x01\0", Kind("an icon")),
    *((0, b"P%d%c" % (number, space), Kind("a Netpbm image")) for number in range(1, 8) for space in b"\n\r\t "),
    *((0, element, _DICOM_DATA_SET) for element in _DICOM_ELEMENTS),
    (344, b"n+1\0", _VOLUME),
    (344, b"ni1\0", _VOLUME),
    (4, b"n+2\0\r\n\x1a\n", _VOLUME),
    (4, b"ni2\0\r\n\x1a\n", _VOLUME),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _DOCUMENT)),
    (0, b"qoif", Kind("a QOI image")),
    (0, b"\x8aMNG\r\n\x1a\n", Kind("an MNG animation")),
    (0, b"\x8bJNG\r\n\x1a\n", Kind("a JNG image")),
    *(
        (0, b"\x0a%c\x01%c" % (version, bits), Kind("a PCX image"))
        for version in (0, 2, 3, 4, 5)
        for bits in (1, 2, 4, 8)
    ),
    (40, b" EMF", _DRAWING),
    (0, b"\xd7\xcd\xc6\x9a", _DRAWING),
    (0, b"\x01\0\x09\0\0\x03", _DRAWING),
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
    (0, b"PK\x03\x04", Kind("a ZIP archive or an Office document", "send the images in it, one by one")),
    (0, b"{\\rtf", Kind("an RTF document", _DOCUMENT)),
    *((0, start, _ARCHIVE) for start in (b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")),
    (4, b"1AY&SY", _ARCHIVE),  # bzip2
    (257, b"ustar", _ARCHIVE),
    *(
        (0, start, _VIDEO)
        for start in (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\1", b"0&\xb2u\x8ef\xcf\x11")
    ),
    (8, b"AVI ", _VIDEO),
    # QuickTime without a brand.
    *((4, box, _VIDEO) for box in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    *((position, b"PNG", _CHANGED) for position in (1, 2, 3)),  # its line ends are there to tell
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", _CHANGED),
    (0, 2 * b"\xef\xbf\xbd", _CHANGED),
    (0, b"\0\5\x16\7", Kind("a Mac's notes on a file", "send the file of the same name without ._ at its beginning")),
    *((0, start, _BASE64) for start in (b"data:image/", b"/9j/", b"iVBORw0KGgo", b"SUkqA", b"UklGR")),
)

# ISO base media files, by their major brand; HEIF's own brands say nothing, so the compatible ones count.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_BRANDS: tuple[tuple[tuple[bytes, ...], Kind], ...] = (
    ((b"avis",), Kind("an AVIF animation", "save one of its images as a single still image")),
    ((b"avif",), Kind("an AVIF image, which this installation cannot read")),
    (_HEIC_BRANDS, HEIC),
    ((b"mif1", b"msf1", b"mif2"), Kind("a HEIF photo", _HEIC_ADVICE)),
    ((b"crx ",), CAMERA_RAW),
    ((b"jp2 ", b"jpx ", b"jph "), Kind("a JPEG 2000 image")),
)

# Of BMP's headers, by their size; text may begin with its signature, too.
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
# Bytes that some tools put before an image, such as an empty line.
_MOST_STRAY = 16


def format_of(data: bytes) -> Format:
    """The accepted format that a file's signature states. Raises :class:`UnsupportedPicture` for another kind."""
    if data.startswith(JPEG_SIGNATURE):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if is_dicom(data):  # whose preamble may be that of a TIFF
        if READS_DICOM:
            return "DICOM"
        raise refusal(_DICOM)
    if data.startswith(TIFF_SIGNATURES):
        return "TIFF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    brands = _brands(data)
    if READS_AVIF and b"avif" in brands and b"avis" not in brands:
        return "AVIF"
    name, advice = _kind_of(data)
    raise refusal(Kind(name, f"{advice}; the service takes {_ACCEPTED}"))


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins so is a DICOM file."""
    return start.startswith(_DICOM_SIGNATURE, _DICOM_POSITION)


def refusal(kind: Kind) -> UnsupportedPicture:
    """Why a file of this kind is not accepted."""
    return UnsupportedPicture(f"this is {kind.name}: {kind.advice}")


def damaged(data: bytes) -> UndecodablePicture:
    """Why a file of an accepted format cannot be decoded."""
    picture_format = format_of(data)
    # Saved again, what is grey for want of data would be taken for the image.
    instead = EXPORT if picture_format == "DICOM" else "if a photo app shows it whole, save it there as JPEG"
    advice = f"copy or send the original file again, or {instead}"
    return UndecodablePicture(f"the {NAMES[picture_format]} is truncated or corrupt; {advice}")


def costly(data: bytes) -> CostlyPicture:
    """Why a file of an accepted format is not decoded to its end."""
    advice = "save it as a smaller or plain JPEG"
    return CostlyPicture(f"the {NAMES[format_of(data)]} takes too much memory or time to decode; {advice}")


def _brands(data: bytes) -> list[bytes]:
    """What an ISO base media file says that it is; none for other files."""
    if data[4:8] != b"ftyp":
        return []
    size = min(max(16, int.from_bytes(data[:4])), 256)
    return [data[8:12], *(data[at : at + 4] for at in range(16, size, 4))]


def _kind_of(data: bytes) -> Kind:
    if brands := _brands(data):
        return next((kind for names, kind in _BRANDS if any(brand in names for brand in brands)), _VIDEO)
    for position, signature, kind in _SIGNATURES:
        if data.startswith(signature, position):
            return kind
    if _is_targa(data):
        return Kind("a Targa image")
    if data.count(0) == len(data):
        return _WITHOUT_CONTENT
    if JPEG_SIGNATURE in data[:_MOST_STRAY] or PNG_SIGNATURE in data[:_MOST_STRAY]:
        return Kind("an image behind bytes that are not its own")
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        return Kind("an SVG drawing or a web page", "send a photo instead")
    if _is_text(start) or (data.startswith((b"\xff\xfe", b"\xfe\xff")) and _is_text(start[2:].replace(b"\0", b""))):
        return Kind("text", "send a photo instead")
    return _UNKNOWN


def _is_text(start: bytes) -> bool:
    """Whether these are printable characters, nearly all in UTF-8."""
    text = start.decode(errors="ignore")
    return len(start) < 2 * len(text.encode()) and all(char >= " " or char in "\t\r\n" for char in text)


def _is_targa(data: bytes) -> bool:
    """Targa has a signature at its end, since 1989; before, an image without palette has few possible headers."""
    if data.endswith(b"TRUEVISION-XFILE.\0"):
        return True
    header, depth = data[1:8], data[16:17]
    width, height = data[12:14], data[14:16]
    return (
        header in (b"\0%c\0\0\0\0\0" % number for number in (2, 3, 10, 11))
        and depth in (b"\x08", b"\x10", b"\x18", b"\x20")
        and min(width, height) > bytes(2)
    )
