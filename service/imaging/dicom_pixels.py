"""From the pixels of a DICOM file, as they are stored, to a JPEG for the common decoder or to an image.

Pixels are those of the stored matrix: nothing in a DICOM file turns them, and EXIF data inside it do not count.
"""

from __future__ import annotations

import io
import struct

import _CharLS
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from service.imaging.dicom import BIG_ENDIAN, JPEG, JPEG_2000, JPEG_LS, NATIVE, Dicom
from service.imaging.jpeg import END_MARK, Jpeg, check_jpeg, without_exif
from service.imaging.kinds import EXPORT, JPEG_SIGNATURE, Kind, refusal
from service.imaging.picture import TooManyParts, UndecodablePicture

# Bare files of JPEG 2000 are not read.
del Image.OPEN[Jpeg2KImageFile.format]
Image.ID.remove(Jpeg2KImageFile.format)

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_RED_GREEN_BLUE = (*b"RGB",)
# A segment that says: these three channels are red, green and blue.
_ADOBE_RGB_MARK = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"

_CODESTREAM = b"\xff\x4f\xff\x51"
_TILE, _END = b"\xff\x90", b"\xff\xd9"
_MOST_TILES = 2_000
_MOST_PARTS = 10_000

_RLE_HEADER = struct.Struct("<16L")


def is_jpeg(dicom: Dicom) -> bool:
    """Whether the pixels are a JPEG for the common decoder: :func:`jpeg_of`. Others are for :func:`image_of`."""
    return dicom.syntax in JPEG


def decoding_bytes(dicom: Dicom) -> int:
    """The most memory that :func:`image_of` takes for an image of this size, in bytes; somewhat more than measured."""
    values = dicom.width * dicom.height * dicom.samples
    stored = values * dicom.bits_allocated // 8
    if dicom.syntax in JPEG_2000:
        return 6 * values + stored  # its decoder keeps 32 bits of each
    return 2 * stored + values if dicom.syntax in NATIVE else 3 * stored


def jpeg_of(dicom: Dicom) -> bytes:
    """The JPEG in a DICOM file, without EXIF data.

    Raises :class:`UndecodablePicture` when the file states another size or other colours, as decoders disagree then
    about which to believe; and as :func:`check_jpeg` does.
    """
    stream = dicom.pixels
    if not stream.startswith(JPEG_SIGNATURE):
        raise UndecodablePicture(f"the DICOM file states a JPEG and holds none; {EXPORT}")
    jpeg = check_jpeg(stream)
    frame = jpeg.frame
    _require_size(dicom, "JPEG", frame.width, frame.height)
    if len(frame.channels) != dicom.samples:
        raise _contradiction("other colours than the JPEG in it has")
    stream = without_exif(stream)
    if dicom.samples == 1:
        return stream
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
        stated = _stated_colours(image, jpeg)
    if dicom.photometric == "RGB" and stated is None:
        return stream[:2] + _ADOBE_RGB_MARK + stream[2:]
    if (dicom.photometric == "RGB") != (stated == "RGB"):
        raise _contradiction("other colours than the JPEG in it has")
    return stream


def _stated_colours(image: Image.Image, jpeg: Jpeg) -> str | None:
    """What a JPEG of three channels says that they are, as its decoder takes it; None where it says nothing."""
    if "jfif" in image.info:
        return "YCbCr"
    if "adobe" in image.info:
        return "RGB" if image.info.get("adobe_transform") == 0 else "YCbCr"
    channels = jpeg.frame.channels
    if tuple(channels) == _RED_GREEN_BLUE:
        return "RGB"
    # Nobody takes fewer samples of red or blue than of green.
    return "YCbCr" if len(set(channels.values())) > 1 else None


def image_of(dicom: Dicom) -> Image.Image:
    """The image in a DICOM file that holds no JPEG, in grey, RGB, YCbCr or with a palette, of 8 bits.

    Raises :class:`UndecodablePicture` when the pixels are not of the stated size and form,
    :class:`UnsupportedPicture`, :class:`TooManyParts`, and what decoders raise for damaged files.
    """
    if dicom.syntax in JPEG_2000:
        image = _jpeg_2000(dicom)
        return _with_palette(image, dicom) if dicom.palette is not None else image
    values = np.ascontiguousarray(_to_8_bits(_samples(dicom), dicom))
    size = (dicom.width, dicom.height)
    if dicom.palette is not None:
        return _with_palette(Image.frombuffer("L", size, values, "raw", "L", 0, 1), dicom)
    mode = "L" if dicom.samples == 1 else "RGB" if dicom.photometric == "RGB" else "YCbCr"
    return Image.frombuffer(mode, size, values, "raw", mode, 0, 1)


def _samples(dicom: Dicom) -> Samples:
    """Stored values, [rows, columns] or [rows, columns, samples]."""
    rows, columns, samples = dicom.height, dicom.width, dicom.samples
    if dicom.syntax in JPEG_LS:
        data, is_planar = _jpeg_ls(dicom)
    elif dicom.syntax not in NATIVE:
        return _run_lengths(dicom)
    elif dicom.photometric == "YBR_FULL_422":
        return _subsampled(dicom)
    else:
        data, is_planar = dicom.pixels, dicom.is_planar
    _require_length(data, rows * columns * samples * dicom.bits_allocated // 8)
    if dicom.is_swapped:
        data = np.frombuffer(data, "<u2", len(data) // 2).byteswap().tobytes() + data[len(data) // 2 * 2 :]
    order = ">" if dicom.syntax == BIG_ENDIAN else "<"
    values = np.frombuffer(data, f"{order}u{dicom.bits_allocated // 8}", rows * columns * samples)
    if samples == 1:
        return values.reshape(rows, columns)
    if is_planar:
        return values.reshape(samples, rows, columns).transpose(1, 2, 0)
    return values.reshape(rows, columns, samples)


def _subsampled(dicom: Dicom) -> Samples:
    """Two values of brightness and one pair of colours for each two pixels of a row."""
    rows, columns = dicom.height, dicom.width
    if columns % 2 or dicom.is_planar:
        raise refusal(Kind("a DICOM file with subsampled colours in an odd layout", EXPORT))
    _require_length(dicom.pixels, 2 * rows * columns)
    pairs = np.frombuffer(dicom.pixels, np.uint8, 2 * rows * columns).reshape(rows, columns // 2, 4)
    values = np.empty((rows, columns, 3), np.uint8)
    values[:, 0::2, 0], values[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
    values[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
    return values


def _run_lengths(dicom: Dicom) -> Samples:
    """Pixels in segments of run lengths (PS3.5, Annex G): one for each byte of each sample, the high byte first.

    Pillow's decoder of the same runs ends where the segment or the image does; pydicom's expands all that comes.
    """
    num_bytes = dicom.bits_allocated // 8
    num_segments, *starts = _RLE_HEADER.unpack_from(dicom.pixels)
    if num_segments != num_bytes * dicom.samples:
        raise _contradiction("another number of segments than its run lengths have")
    num_pixels = dicom.width * dicom.height
    values = np.empty((dicom.height, dicom.width, dicom.samples, num_bytes), np.uint8)
    ends = [*starts[1:num_segments], len(dicom.pixels)]
    for index, (start, end) in enumerate(zip(starts, ends, strict=False)):
        plane = np.frombuffer(_expanded(dicom.pixels[start:end], num_pixels), np.uint8)
        values[:, :, index // num_bytes, index % num_bytes] = plane.reshape(dicom.height, dicom.width)
    whole = values.view(f">u{num_bytes}")[..., 0]
    return whole[..., 0] if dicom.samples == 1 else whole


def _expanded(segment: bytes, num_pixels: int) -> bytes:
    """Raises ``ValueError`` for fewer pixels, or for more than the byte that makes a segment even may add."""

    def expand(num: int) -> bytes:
        # One row, because runs may go on across the image's rows.
        return Image.frombytes("L", (num, 1), segment, "packbits", "L").tobytes()

    try:
        expand(num_pixels + 2)
    except ValueError:
        return expand(num_pixels)
    raise _contradiction("another size than its run lengths have")


def _jpeg_ls(dicom: Dicom) -> tuple[bytes, bool]:
    """The values, and whether they are in planes."""
    # Without an end, its decoder may read zeros for ten seconds.
    if not dicom.pixels.removesuffix(b"\0").endswith(END_MARK):
        raise ValueError("there is no end mark")
    header = _CharLS.read_header(dicom.pixels)
    _require_size(dicom, "JPEG-LS", header["width"], header["height"])
    if header["components"] != dicom.samples or header["bits_per_sample"] != dicom.bits_stored:
        raise _contradiction("other values than the JPEG-LS in it has")
    return bytes(_CharLS.decode_from_buffer(dicom.pixels)), header["interleave_mode"] == 0


def _jpeg_2000(dicom: Dicom) -> Image.Image:
    """Decoded by Pillow, which rounds deeper values of colours to 8 bits."""
    stream = dicom.pixels
    if not stream.startswith(_CODESTREAM):
        raise UndecodablePicture(f"the DICOM file states a JPEG 2000 and holds none; {EXPORT}")
    right, bottom, left, top, across, down, *_, num = struct.unpack_from(">8LH", stream, 8)
    _require_size(dicom, "JPEG 2000", right - left, bottom - top)
    num_tiles = -(-right // across) * -(-bottom // down)
    if num_tiles > _MOST_TILES:
        raise TooManyParts("too many tiles")
    if _tiles(stream) != set(range(num_tiles)):
        raise ValueError("tiles are missing")  # which the decoder would leave black
    channels = {stream[start : start + 3] for start in range(42, 42 + 3 * num, 3)}
    if num != dicom.samples or channels != {bytes((dicom.bits_stored - 1, 1, 1))}:
        raise _contradiction("other values than the JPEG 2000 in it has")
    image = Jpeg2KImageFile(io.BytesIO(stream))
    image.load()
    if image.mode != "I;16":
        return image
    grey = np.frombuffer(image.tobytes(), "<u2").reshape(dicom.height, dicom.width)
    return Image.fromarray(_to_8_bits(grey, dicom))


def _tiles(stream: bytes) -> set[int]:
    """The numbers of the tiles that have data in a JPEG 2000 codestream (ITU-T T.800, Annex A)."""
    position, found = 2, set[int]()  # behind the start mark
    for _ in range(_MOST_PARTS):
        marker = stream[position : position + 2]
        if marker == _TILE:
            tile, length = struct.unpack_from(">HL", stream, position + 4)
            found.add(tile)
            if length == 0:  # up to the end
                return found
            position += length
        elif found or marker == _END:
            return found
        else:
            position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    raise TooManyParts("too many segments or parts of tiles")


def _to_8_bits(values: Samples, dicom: Dicom) -> NDArray[np.uint8]:
    """The highest 8 of the bits that are in use."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    return ((values & ((1 << dicom.bits_stored) - 1)) >> (dicom.bits_stored - 8)).astype(np.uint8)


def _with_palette(indices: Image.Image, dicom: Dicom) -> Image.Image:
    """An image of mode L, whose values are indices, with the palette of the DICOM file."""
    assert dicom.palette is not None
    num_entries, first, bits, tables = dicom.palette
    entries = np.clip(np.arange(256) - first, 0, num_entries - 1)
    order = ">" if dicom.syntax == BIG_ENDIAN else "<"
    colours = np.empty((256, 3), np.uint8)
    for channel, table in enumerate(tables):
        depth = 2 if len(table) >= 2 * num_entries else 1
        values = np.frombuffer(table, f"{order}u{depth}")[entries].astype(np.uint16)
        # Some software writes 8 bits where it says 16.
        colours[:, channel] = values >> 8 if bits == 16 and depth == 2 and values.max() > 255 else values
    image = indices.copy()
    image.putpalette(colours.tobytes())
    return image


def _require_size(dicom: Dicom, kind: str, width: int, height: int) -> None:
    if (width, height) != (dicom.width, dicom.height):
        stated = f"{dicom.width} x {dicom.height} pixels, and the {kind} in it has {width} x {height}"
        raise UndecodablePicture(f"the DICOM file states {stated}: store it again, or {EXPORT}")


def _require_length(data: bytes, num_bytes: int) -> None:
    """Raises :class:`UndecodablePicture` unless there are so many bytes, but for one that makes them even."""
    if not num_bytes <= len(data) <= num_bytes + 1:
        stated = f"{num_bytes:,} bytes of pixels, and has {len(data):,}"
        raise UndecodablePicture(f"the DICOM file states {stated}: store it again, or {EXPORT}")


def _contradiction(what: str) -> UndecodablePicture:
    return UndecodablePicture(f"the DICOM file states {what}: store it again, or {EXPORT}")
