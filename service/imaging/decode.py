"""Decode a picture to the frame that the network takes; training and serving share this module.

Accepted by content, never by name: JPEG, PNG, WebP and single-page TIFF. Frames are 8-bit sRGB and upright. The pixels
are in memory once in full size.

The service decodes in processes of its own (:mod:`service.imaging.decoder_pool`). They import this module, which
therefore does without NumPy: that takes longer to load than everything else together.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import NamedTuple

import PIL.TiffImagePlugin
import PIL.WebPImagePlugin  # noqa: F401 - both register their readers
from PIL import Image, UnidentifiedImageError

from service.imaging.frame import forget_xmp, to_frame
from service.imaging.picture import (
    DEFAULT_LIMITS,
    CostlyPicture,
    EmptyPicture,
    Note,
    Picture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
)
from service.imaging.structure import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    TIFF_SIGNATURES,
    TooManyParts,
    check_parts,
    check_tiles,
    decoding_bytes,
    decoding_samples,
    webp_size,
)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
# How Pillow's error begins when a native decoder has found no memory.
_NO_MEMORY = "out of memory"
# A file with one of these signatures that cannot be opened is damaged, not unsupported.
_SIGNATURES = (JPEG_SIGNATURE, PNG_SIGNATURE, *TIFF_SIGNATURES)

# The limits below are checked before decoding; Pillow's own limit only warns, and is global.
Image.MAX_IMAGE_PIXELS = None

# Errors go to the sender; Pillow would log a warning for every bad tag, and keep it in memory.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _forget_other_readers() -> None:
    """Remove Pillow's other readers: some forty, PostScript's among them, which only widen the attack surface."""
    Image.preinit()
    for name in set(Image.OPEN) - set(FORMATS):
        del Image.OPEN[name]
        Image.ID.remove(name)


_forget_other_readers()

# Values that a decoder may compute: pixels x channels x passes. 40 million pixels in four channels and ten scans.
_MOST_SAMPLES = 1_600_000_000


class Decoded(NamedTuple):
    """What a :class:`Picture` is made of, with the frame as an image of Pillow's."""

    image: Image.Image
    width: int
    height: int
    format: str
    notes: tuple[Note, ...]


def read_picture(
    data: bytes, frame_size: int, limits: PictureLimits = DEFAULT_LIMITS, *, jpeg_quality: int | None = None
) -> Picture:
    """Decode ``data`` to a frame of ``frame_size`` x ``frame_size``; a picture of that size comes through unchanged.

    With ``jpeg_quality`` (1 to 95), a resized picture is compressed and decoded again at that quality: a network that
    learned from small JPEG files expects their artefacts.

    Raises a :class:`PictureError`: :class:`EmptyPicture`, :class:`PictureTooLarge`, :class:`UnsupportedPicture`,
    :class:`UndecodablePicture` or :class:`CostlyPicture`.
    """
    import numpy as np

    image, width, height, picture_format, notes = decode(data, frame_size, limits, jpeg_quality=jpeg_quality)
    return Picture(np.asarray(image), width, height, picture_format, hashlib.sha256(data).hexdigest(), notes)


def decode(data: bytes, frame_size: int, limits: PictureLimits, *, jpeg_quality: int | None = None) -> Decoded:
    """As :func:`read_picture`; also raises ``MemoryError``, which is no fault of the picture's."""
    if not data:
        raise EmptyPicture("the picture is empty; send the bytes of one")
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(f"the picture has {len(data):,} bytes, the limit is {limits.max_bytes:,}")
    try:
        num_scans = check_parts(data)
        _check_webp(data, limits)
        with _open(data) as image:
            _check(image, limits, num_scans)
            forget_xmp(image)  # a TIFF's is used while it loads
            image.load()
            frame, (width, height), notes = to_frame(image, frame_size)
            picture_format = "JPEG" if image.format == "MPO" else image.format or ""
    except (PictureError, MemoryError):
        raise
    except TooManyParts as error:
        raise UndecodablePicture(f"the picture file has {error} to be decoded in time; save it again") from error
    # Decoders raise many types (OSError, ValueError, SyntaxError, struct.error, ...); all mean a damaged picture.
    except Exception as error:
        if str(error).startswith(_NO_MEMORY):
            raise MemoryError from error
        raise UndecodablePicture("the picture is truncated or corrupt; send the original file again") from error
    if (width, height) != frame.size and jpeg_quality is not None:
        frame = _recompress(frame, jpeg_quality)
    return Decoded(frame, width, height, picture_format, notes)


def _recompress(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer, formats=("JPEG",)).convert("RGB")


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES):
            raise
        raise UnsupportedPicture("not a picture of an accepted type; send JPEG, PNG, WebP or TIFF") from error


def _check(image: Image.Image, limits: PictureLimits, num_scans: int) -> None:
    width, height = image.size
    _check_pixels(image.size, limits)
    if min(width, height) < limits.min_side:
        raise UndecodablePicture(f"the picture is {width} x {height} pixels; each side needs {limits.min_side} or more")
    check_tiles(image, limits.max_pixels)
    if _has_more(image):
        raise UnsupportedPicture("the picture is animated or has several pages; send a single still picture")
    if decoding_samples(image, num_scans) > _MOST_SAMPLES:
        raise CostlyPicture
    _check_memory(decoding_bytes(image, num_scans), limits)


def _check_webp(data: bytes, limits: PictureLimits) -> None:
    """Check what a WebP file states. Opening one takes two canvases of an animation, decoding a copy and an image."""
    width, height = webp_size(data)
    _check_pixels((width, height), limits)
    _check_memory(16 * width * height, limits)


def _check_memory(num_bytes: int, limits: PictureLimits) -> None:
    if limits.max_memory is not None and num_bytes > limits.max_memory:
        raise CostlyPicture


def _check_pixels(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise PictureTooLarge(f"the picture has {width} x {height} pixels, the limit is {limits.max_pixels:,} in all")


def _has_more(image: Image.Image) -> bool:
    """Whether there is a second frame or page. Counting all of a TIFF's would take quadratic time."""
    if image.format == "MPO":  # a JPEG of a phone, with a preview or depth map after the picture
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    return True
