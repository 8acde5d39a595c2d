"""Bytes of a picture to the frame that the network takes; training and serving both come through here.

Accepted by content, never by name: JPEG, PNG, WebP and single-page TIFF. Everything becomes 8-bit sRGB, upright.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import PIL.WebPImagePlugin  # noqa: F401 - registers its reader, as TIFF's does below
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from service.imaging.structure import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    TIFF_SIGNATURES,
    TooManyParts,
    check_parts,
    check_tiles,
)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
# What begins like an accepted type and cannot be opened is a damaged picture, not an unsupported one.
_SIGNATURES = (JPEG_SIGNATURE, PNG_SIGNATURE, *TIFF_SIGNATURES)

# The limits below are checked before anything is decoded; Pillow's own would only warn, and for the whole process.
Image.MAX_IMAGE_PIXELS = None

# Of what is wrong with a picture its sender is told; Pillow would write, and remember, a line for every tag of it.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _forget_other_readers() -> None:
    """Leave Pillow no reader but those of the accepted types; it knows forty more, PostScript's among them."""
    Image.preinit()
    for name in set(Image.OPEN) - set(FORMATS):
        del Image.OPEN[name]
        Image.ID.remove(name)


_forget_other_readers()

# Of Pillow's filters this one gives the 256-pixel copies of ISIC pictures that the shipped network was trained from,
# to a mean difference of 0.16 of 255 after JPEG at quality 75; the next best gives 0.64.
RESIZE_FILTER = Image.Resampling.BICUBIC


class PictureError(ValueError):
    """The picture cannot be used; the text says what to change."""


class EmptyPicture(PictureError):  # noqa: N818 - named for what was sent
    """There are no bytes."""


class PictureTooLarge(PictureError):  # noqa: N818
    """More bytes or pixels than the limits allow."""


class UnsupportedPicture(PictureError):  # noqa: N818
    """Not a still picture of an accepted type."""


class UndecodablePicture(PictureError):  # noqa: N818
    """Of an accepted type, but truncated, corrupt or too small."""


@dataclass(frozen=True)
class PictureLimits:
    """What is refused before decoding; sides in pixels."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 32


DEFAULT_LIMITS = PictureLimits()


@dataclass(frozen=True)
class Picture:
    """A decoded picture: the whole of it, upright, squashed to F x F, and what it was before."""

    frame: NDArray[np.uint8]  # [F, F, 3], sRGB
    width: int
    height: int
    format: str
    sha256: str


def read_picture(
    data: bytes, frame_size: int, limits: PictureLimits = DEFAULT_LIMITS, *, jpeg_quality: int | None = None
) -> Picture:
    """Decode ``data`` to a frame of ``frame_size`` x ``frame_size``; a picture of that size comes through unchanged.

    With ``jpeg_quality`` (1 to 95), a picture that had to be resized is compressed and decoded at that quality: a
    network that learned from small JPEG files has never seen a picture without their traces.

    Raises a :class:`PictureError`: :class:`EmptyPicture`, :class:`PictureTooLarge`, :class:`UnsupportedPicture` or
    :class:`UndecodablePicture`.
    """
    if not data:
        raise EmptyPicture("the picture is empty; send the bytes of one")
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(f"the picture has {len(data):,} bytes, the limit is {limits.max_bytes:,}")
    try:
        check_parts(data)
        with _open(data) as image:
            _check(image, limits)
            _turn_upright(image)
            upright = _to_srgb(image)
            picture_format = "JPEG" if image.format == "MPO" else image.format or ""
    except PictureError:
        raise
    except TooManyParts as error:
        raise UndecodablePicture(f"the picture file has {error} to be decoded in time; save it anew") from error
    # Decoders raise whatever comes (OSError, ValueError, SyntaxError, struct.error, ...); here it means one thing.
    except Exception as error:
        raise UndecodablePicture("the picture is truncated or corrupt; send the original file again") from error
    width, height = upright.size
    if upright.size != (frame_size, frame_size):
        upright = upright.resize((frame_size, frame_size), RESIZE_FILTER)
        if jpeg_quality is not None:
            upright = _recompress(upright, jpeg_quality)
    return Picture(np.asarray(upright), width, height, picture_format, hashlib.sha256(data).hexdigest())


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


def _check(image: Image.Image, limits: PictureLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise PictureTooLarge(f"the picture has {width} x {height} pixels, the limit is {limits.max_pixels:,} in all")
    if min(width, height) < limits.min_side:
        raise UndecodablePicture(f"the picture is {width} x {height} pixels; each side needs {limits.min_side} or more")
    check_tiles(image, limits.max_pixels)
    if _has_more(image):
        raise UnsupportedPicture("the picture is animated or has several pages; send a single still picture")


def _has_more(image: Image.Image) -> bool:
    """Whether a second frame or page follows; counting them all would take the square of their number in a TIFF."""
    if image.format == "MPO":  # a JPEG from a phone, with a preview or a depth map behind the picture itself
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _turn_upright(image: Image.Image) -> None:
    """As EXIF says; what is broken there says nothing, and the pixels may be whole."""
    image.load()
    with suppress(SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = _on_white(image if image.mode == "RGBA" else image.convert("RGBA"))
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    image = _apply_profile(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit grey to its high byte, as Pillow decodes 16-bit colour; Pillow's conversion of grey would clip at 255."""
    tags = getattr(image, "tag_v2", {})
    depth, black_is_zero = tags.get(BITSPERSAMPLE, (16,)), tags.get(PHOTOMETRIC_INTERPRETATION, 1) == 1
    # 32 bits, floating point and 12 bits come without a range; guessing one would turn a picture black or white.
    if image.mode in ("I", "F") or depth != (16,) or not black_is_zero:
        raise UnsupportedPicture("the picture's grey values have no known range; save it with 8 or 16 bits a channel")
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours from the picture's ICC profile to sRGB; a profile that is broken or for other channels is ignored."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return converted or image
