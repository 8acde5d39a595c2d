"""Decode a picture to the frame that the network takes; training and serving share this module.

Accepted by content, never by name: JPEG, PNG, WebP and single-page TIFF. Frames are 8-bit sRGB and upright.
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
    is_simple_profile,
)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
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

# The filter that reproduces the 256-pixel copies of ISIC pictures that the shipped network was trained from: mean
# difference 0.16 of 255 after JPEG at quality 75; the next best of Pillow's filters gives 0.64.
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
    """Limits that are checked before decoding; sides in pixels."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 32


DEFAULT_LIMITS = PictureLimits()


@dataclass(frozen=True)
class Picture:
    """A decoded picture: upright, squashed to F x F, with its original size, format and digest."""

    frame: NDArray[np.uint8]  # [F, F, 3], sRGB
    width: int
    height: int
    format: str
    sha256: str


def read_picture(
    data: bytes, frame_size: int, limits: PictureLimits = DEFAULT_LIMITS, *, jpeg_quality: int | None = None
) -> Picture:
    """Decode ``data`` to a frame of ``frame_size`` x ``frame_size``; a picture of that size comes through unchanged.

    With ``jpeg_quality`` (1 to 95), a resized picture is compressed and decoded again at that quality: a network that
    learned from small JPEG files expects their artefacts.

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
        raise UndecodablePicture(f"the picture file has {error} to be decoded in time; save it again") from error
    # Decoders raise many types (OSError, ValueError, SyntaxError, struct.error, ...); all mean a damaged picture.
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
    """Whether there is a second frame or page. Counting all of a TIFF's would take quadratic time."""
    if image.format == "MPO":  # a JPEG of a phone, with a preview or depth map after the picture
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _turn_upright(image: Image.Image) -> None:
    """Apply the EXIF orientation; broken EXIF data is ignored, as the pixels may be intact."""
    _forget_xmp(image)  # a TIFF's is used while it loads
    image.load()
    _forget_xmp(image)  # a PNG's may come after the pixels
    with suppress(SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)


def _forget_xmp(image: Image.Image) -> None:
    """Pillow takes an orientation from XMP; browsers do not, so the sender saw the picture without."""
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)


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
    """16-bit grey to its high byte, as Pillow does for 16-bit colour; its own conversion of grey clips at 255."""
    tags = getattr(image, "tag_v2", {})
    depth, black_is_zero = tags.get(BITSPERSAMPLE, (16,)), tags.get(PHOTOMETRIC_INTERPRETATION, 1) == 1
    # 32-bit, floating-point and 12-bit values have no known range; a wrong guess gives a black or white picture.
    if image.mode in ("I", "F") or depth != (16,) or not black_is_zero:
        raise UnsupportedPicture("the picture's grey values have no known range; save it with 8 or 16 bits a channel")
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from the picture's ICC profile to sRGB; a broken profile, or one for other channels, is ignored."""
    if not profile or not is_simple_profile(profile):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return converted or image
