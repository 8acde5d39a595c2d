"""An independent decoder: tifffile and imagecodecs read files, and NumPy converts colours as their standards say."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.service.profiles import ADOBE_RGB, DISPLAY_P3, PROPHOTO_RGB, SRGB_FROM_XYZ

RGB = NDArray[np.uint8]
Values = NDArray[Any]

_PHOTOMETRIC = tifffile.PHOTOMETRIC


class Channels(NamedTuple):
    """Pixels in the colours of their file, of 8 bits: grey, RGB or inks, and alpha on white."""

    values: NDArray[np.uint8]  # [H, W, 1, 3 or 4]

    def in_rgb(self) -> RGB:
        """In RGB, without a profile."""
        if self.values.shape[2] == 4:
            return _of_inks(self.values)
        return np.broadcast_to(self.values, (*self.values.shape[:2], 3)).astype(np.uint8)

    def converted(self, profile: bytes) -> RGB:
        """In sRGB, by Little CMS in another build and through another library than the service's."""
        values, space = self.values, {1: "gray", 3: "rgb", 4: "cmyk"}[self.values.shape[2]]
        if space == "gray":
            values, space = (self.in_rgb(), "rgb") if profile[16:20] == b"RGB " else (values[..., 0], space)
        values = np.ascontiguousarray(values)
        srgb = imagecodecs.cms_profile("srgb")
        shown = imagecodecs.cms_transform(values, profile, srgb, colorspace=space, outcolorspace="rgb", intent=0)
        return np.asarray(shown, dtype=np.uint8)


def decode(data: bytes) -> RGB:
    """The pixels as stored, in RGB of 8 bits; neither turned nor converted by a profile. Of a TIFF, its first page.

    Raises as :func:`read` does.
    """
    return read(data).in_rgb()


def read(data: bytes) -> Channels:
    """The pixels as stored. Raises what the libraries raise, and ``ValueError`` for kinds that have no one meaning."""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            return _of_tiff(page)
    if data.startswith(b"\xff\xd8"):
        values = np.asarray(imagecodecs.jpeg8_decode(data))
        # Adobe, whose mark nearly all files of inks have, stores them inverted.
        return Channels(_inverted(values)) if values.shape[2:] == (4,) else _of_channels(values)
    if data.startswith(b"\x89PNG"):
        return _of_channels(imagecodecs.png_decode(data))
    if data.startswith(b"RIFF"):
        return _of_channels(imagecodecs.webp_decode(data))
    if data.startswith(b"BM"):
        values = imagecodecs.bmp_decode(data)
        has_alpha = values.shape[2:] != (4,) or values[..., 3].any()  # nothing was written to some
        return _of_channels(values if has_alpha else values[..., :3])
    if data[4:8] == b"ftyp":
        values = np.asarray(imagecodecs.avif_decode(data))
        depth = 8 if values.dtype == np.uint8 else 12 if data[data.index(b"av1C") + 6] & 0x20 else 10
        return _of_channels(_to_8_bit(values, depth))
    raise ValueError("not a file that this decoder reads")


def _of_tiff(page: tifffile.TiffPage) -> Channels:
    values = page.asarray()
    if page.planarconfig == 2 and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    match page.photometric:
        case _PHOTOMETRIC.MINISWHITE:
            return _of_channels(_inverted(_to_8_bit(values, page.bitspersample)))
        case _PHOTOMETRIC.PALETTE:
            assert page.colormap is not None
            colours = page.colormap if page.colormap.max() < 256 else page.colormap >> 8
            return Channels(np.moveaxis(colours[:, values].astype(np.uint8), 0, -1))
        case _PHOTOMETRIC.SEPARATED:
            return Channels(_to_8_bit(values, page.bitspersample))
        case _PHOTOMETRIC.RGB | _PHOTOMETRIC.MINISBLACK:
            extra = page.extrasamples
            if extra and extra[0] == 0:  # unspecified, so not shown
                values = values[..., 0] if values.shape[-1] == 2 else values[..., :3]
            return _of_channels(_to_8_bit(values, page.bitspersample), premultiplied=bool(extra) and extra[0] == 1)
        case _PHOTOMETRIC.YCBCR if page.compression == 7:  # decoded to RGB
            return _of_channels(values)
    raise ValueError(f"no rule for {page.photometric!r}")


def _to_8_bit(values: Values, bits: int) -> RGB:
    if values.dtype.kind != "u":
        raise ValueError("values of no known range")
    return np.asarray(np.round(values * (255 / (2**bits - 1))), dtype=np.uint8)


def _inverted(values: RGB) -> RGB:
    return 255 - values


def _of_channels(values: Values, *, premultiplied: bool = False) -> Channels:
    """Grey or RGB, with or without alpha."""
    if values.dtype == np.uint16:
        values = _to_8_bit(values, 16)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[-1] in (1, 3):
        return Channels(values)
    alpha = values[..., -1:].astype(float) / 255
    colours = values[..., :-1] if premultiplied else values[..., :-1] * alpha
    return Channels((colours + (1 - alpha) * 255).round().astype(np.uint8))


def on_white(pixels: Values) -> RGB:
    """Pixels of 8 bits whose last channel is alpha."""
    return _of_channels(pixels).in_rgb()


def _of_inks(inks: RGB) -> RGB:
    """Cyan, magenta, yellow and black without a profile: complements, darkened by black."""
    light = (255 - inks.astype(float)) / 255
    return np.asarray((light[..., :3] * light[..., 3:4] * 255).round(), dtype=np.uint8)


def to_srgb(pixels: RGB, primaries: str, exponent: float | None) -> RGB:
    """Pixels of a colour space in sRGB: its transfer function (None is sRGB's), its primaries, and back."""
    values = linear(pixels, exponent)
    matrices = {"Adobe RGB": ADOBE_RGB, "Display P3": DISPLAY_P3, "ProPhoto RGB": PROPHOTO_RGB}
    if primaries in matrices:
        columns = np.array([matrices[primaries][name] for name in (b"rXYZ", b"gXYZ", b"bXYZ")]).T
        values = values @ (SRGB_FROM_XYZ @ columns).T
    return encoded(values)


def linear(pixels: RGB, exponent: float | None) -> NDArray[np.float64]:
    """Pixels in light, 0..1, by the exponent of their transfer function; None is sRGB's."""
    share = pixels.astype(float) / 255
    if exponent is not None:
        return np.asarray(share**exponent)
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def encoded(light: NDArray[np.float64]) -> RGB:
    """Light in the primaries of sRGB, 0..1, as pixels."""
    values = np.clip(light, 0, 1)
    curved = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    return np.asarray((255 * curved).round(), dtype=np.uint8)
