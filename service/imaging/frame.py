"""From an image's pixels to the frame: upright, in 8-bit sRGB, squashed to F x F.

Pixels are converted in strips, so that they are in memory once in full size.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import NamedTuple

from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from PIL.JpegImagePlugin import JpegImageFile

from service.imaging.picture import Note
from service.imaging.profiles import ADOBE_RGB, Colours, is_simple_profile, profile_of

# The filter that reproduces the 256-pixel copies of ISIC images that the shipped network was trained from: mean
# difference 0.16 of 255 after JPEG at quality 75; the next best of Pillow's filters gives 0.64.
RESIZE_FILTER = Image.Resampling.BICUBIC

# Pixels that are converted at once; a strip of this size stays in a core's cache.
_STRIP_PIXELS = 2**18


# How cameras state Adobe RGB.
_UNCALIBRATED, _INTEROPERABILITY_INDEX, _ADOBE_RGB = 65535, 1, "R03"


class _Turn(NamedTuple):
    """How an image becomes upright, and where its columns and rows come from."""

    method: Image.Transpose
    flips_columns: bool = False
    flips_rows: bool = False
    swaps: bool = False


# By EXIF orientation.
_TURNS = {
    2: _Turn(Image.Transpose.FLIP_LEFT_RIGHT, flips_columns=True),
    3: _Turn(Image.Transpose.ROTATE_180, flips_columns=True, flips_rows=True),
    4: _Turn(Image.Transpose.FLIP_TOP_BOTTOM, flips_rows=True),
    5: _Turn(Image.Transpose.TRANSPOSE, swaps=True),
    6: _Turn(Image.Transpose.ROTATE_270, swaps=True, flips_columns=True),
    7: _Turn(Image.Transpose.TRANSVERSE, swaps=True, flips_columns=True, flips_rows=True),
    8: _Turn(Image.Transpose.ROTATE_90, swaps=True, flips_rows=True),
}


class Stated(NamedTuple):
    """What a DICOM file states of the colours in it; what a JPEG inside states counts only where that is nothing."""

    is_inverted: bool  # white is zero
    is_srgb: bool
    profile: bytes | None
    colours: Colours | None  # without a profile

    def adopt(self, image: Image.Image) -> Image.Image:
        """A loaded image with these colours."""
        if self.is_inverted:
            info, image = image.info, image.point(lambda value: 255 - value)
            image.info = info
        if self.is_srgb or self.colours is not None:
            image.info.pop("icc_profile", None)
        elif self.profile is not None:
            image.info["icc_profile"] = self.profile
        return image


class Framed(NamedTuple):
    """A frame; whether the image's width and height were swapped for it, and what was ignored or assumed."""

    image: Image.Image
    swapped: bool
    notes: tuple[Note, ...]


def to_frame(image: Image.Image, frame_size: int, stated: Colours | None = None) -> Framed:
    """A loaded image as an upright frame in sRGB. ``stated`` are its colours where it has no profile."""
    turn, colours = _turn(image), _Colours(image, stated or _camera_colours(image))
    swapped = turn is not None and turn.swaps
    size = image.size[::-1] if swapped else image.size
    if turn is not None or colours.change_pixels:
        image = _resized_one_way(image, turn, colours, size, frame_size)
    if image.size != (frame_size, frame_size):
        image = image.resize((frame_size, frame_size), RESIZE_FILTER)
    return Framed(image, swapped, colours.notes)


def _resized_one_way(
    image: Image.Image, turn: _Turn | None, colours: _Colours, size: tuple[int, int], frame_size: int
) -> Image.Image:
    """The image upright and in sRGB, with one of its sides resized, strip by strip.

    Pillow resizes in two passes and rounds to 8 bits between them. This is its first one, so that the frame is the same
    as that of an image which is converted and turned in full size.
    """
    width, height = size
    # Pillow's choice of the first pass.
    columns_first = height - frame_size > 2 * max(0, width - frame_size)
    resized = Image.new("RGB", (width, frame_size) if columns_first else (frame_size, height))
    length, across = size if columns_first else size[::-1]
    step = max(1, _STRIP_PIXELS // across)
    for start in range(0, length, step):
        end = min(start + step, length)
        box = (start, 0, end, height) if columns_first else (0, start, width, end)
        strip = image.crop(box if turn is None else _stored(turn, size, box))
        strip = colours.to_srgb(strip if turn is None else strip.transpose(turn.method))
        small = (end - start, frame_size) if columns_first else (frame_size, end - start)
        resized.paste(strip.resize(small, RESIZE_FILTER), (start, 0) if columns_first else (0, start))
    return resized


def _stored(turn: _Turn, size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Where a box of the upright image of ``size`` is in the stored one; left, top, right and bottom edge."""
    (width, height), (left, top, right, bottom) = size, box
    if turn.flips_columns:
        left, right = width - right, width - left
    if turn.flips_rows:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if turn.swaps else (left, top, right, bottom)


def forget_xmp(image: Image.Image) -> None:
    """Pillow takes an orientation from XMP and from text that ImageMagick writes into a PNG; browsers do not, so the
    sender saw the image without."""
    for name in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type xmp"):
        image.info.pop(name, None)


def _turn(image: Image.Image) -> _Turn | None:
    """What the EXIF orientation asks for; broken EXIF data is ignored, as the pixels may be intact."""
    forget_xmp(image)  # a PNG's may come after the pixels
    with suppress(SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return _TURNS.get(image.getexif().get(Base.Orientation, 1))
    return None


def _camera_colours(image: Image.Image) -> Colours | None:
    """Adobe RGB as cameras state it, in EXIF (DCF 2.0); None for an image with a profile and for other colours."""
    if image.mode != "RGB" or "icc_profile" in image.info or not isinstance(image, JpegImageFile):
        return None
    with suppress(SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error):
        exif = image.getexif()
        is_uncalibrated = exif.get_ifd(IFD.Exif).get(Base.ColorSpace) == _UNCALIBRATED
        if is_uncalibrated and str(exif.get_ifd(IFD.Interop).get(_INTEROPERABILITY_INDEX)).startswith(_ADOBE_RGB):
            return Colours(ADOBE_RGB, 2.2)
    return None


class _Colours:
    """Converts an image's pixels, of any mode, to 8-bit sRGB; ``notes`` say what was ignored or assumed."""

    def __init__(self, image: Image.Image, stated: Colours | None) -> None:
        self._is_deep = image.mode.startswith("I;16")
        if self._is_deep:
            self._mode, self._has_alpha = "L", False
        else:
            self._has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
            self._mode = "L" if image.mode in ("L", "LA", "La") else "CMYK" if image.mode == "CMYK" else "RGB"
        profile = image.info.get("icc_profile", b"")  # None where Pillow could not read it
        if stated is not None:
            profile, self._mode = profile_of(stated), "RGB"
        self._transform = _transform(profile, self._mode) if profile else None
        self.notes: tuple[Note, ...] = ("profile_ignored",) if profile != b"" and self._transform is None else ()
        if self._mode == "CMYK" and self._transform is None:
            self.notes += ("cmyk_without_profile",)
        self.change_pixels = image.mode != "RGB" or self._has_alpha or self._transform is not None

    def to_srgb(self, strip: Image.Image) -> Image.Image:
        """A part of the image, in RGB."""
        if self._is_deep:
            strip = _to_8_bit(strip)
        if self._has_alpha:
            strip = _on_white(strip if strip.mode == "RGBA" else strip.convert("RGBA"))
        if strip.mode != self._mode:
            strip = strip.convert(self._mode)
        if self._transform is not None:
            strip = self._transform.apply(strip)
        return strip if strip.mode == "RGB" else strip.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit grey to its high byte, as Pillow does for 16-bit colour; its own conversion of grey clips at 255."""
    high = 0 if image.mode == "I;16B" else 1
    return Image.frombytes("L", image.size, image.tobytes()[high::2])


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From an ICC profile, for pixels of ``mode``, to sRGB; None for one that is damaged or for other channels, or that
    would take too long."""
    if not is_simple_profile(profile):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
