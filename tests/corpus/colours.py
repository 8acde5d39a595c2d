"""Which colours a file states, found without the service's code, as an ICC profile."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence

import imagecodecs
import numpy as np
from PIL import Image

# Chromaticities of red, green and blue, by the codes of ITU-T H.273; white is D65.
_PRIMARIES = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_ADOBE_RGB = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060)
_D65 = (0.3127, 0.3290)
_EXPONENTS = {4: 2.2, 5: 2.8, 8: 1.0}
_UNSTATED = 2


def profile_of(data: bytes) -> bytes | None:
    """An ICC profile of the colours that an image states; None for sRGB. Raises ``ValueError`` for unknown ones."""
    with Image.open(io.BytesIO(data)) as image:
        embedded = image.info.get("icc_profile")
        if image.format == "PNG":
            return _of_png(data, embedded)
        if embedded:
            return bytes(embedded)
        if image.format == "AVIF":  # without colours in its boxes: index raises ValueError
            return _coded(*struct.unpack_from(">HH", data, data.index(b"colrnclx") + 8))
        if image.format == "BMP" and data[14:18] == b"\x7c\0\0\0" and data[70:74] == b"DEBM":
            start, size = struct.unpack_from("<II", data, 14 + 112)
            return data[14 + start : 14 + start + size]
        exif = image.getexif()
        is_adobe = exif.get_ifd(0x8769).get(0xA001) == 0xFFFF and exif.get_ifd(0xA005).get(1) == "R03"
        return _profile(_D65, _ADOBE_RGB, 2.2) if is_adobe else None


def _of_png(data: bytes, embedded: bytes | None) -> bytes | None:
    """In the order of PNG's third edition: cICP, iCCP, sRGB, then gAMA and cHRM."""
    stated = dict(_chunks(data))
    if len(code := stated.get(b"cICP", b"")) == 4:
        return _coded(code[0], code[1])
    if embedded or b"sRGB" in stated or not stated.keys() & {b"gAMA", b"cHRM"}:
        return embedded
    gamma = 100_000 / max(1, int.from_bytes(stated.get(b"gAMA", b"\0\0\xb1\x8f")))
    white: Sequence[float] = _D65
    primaries: Sequence[float] = _PRIMARIES[1]
    if len(content := stated.get(b"cHRM", b"")) == 32:
        stated_values = [value / 100_000 for value in struct.unpack(">8I", content)]
        white, primaries = stated_values[:2], tuple(stated_values[2:])
    # Viewers take what is nearly sRGB for it, and what no image has for a mistake.
    is_srgb = b"gAMA" not in stated or not 0.9 <= gamma <= 3 or (primaries == _PRIMARIES[1] and abs(gamma - 2.2) < 0.1)
    return _profile(white, primaries, None if is_srgb else gamma)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            return
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def _coded(primaries: int, transfer: int) -> bytes:
    return _profile(_D65, _PRIMARIES[1 if primaries == _UNSTATED else primaries], _EXPONENTS.get(transfer))


def _profile(white: Sequence[float], primaries: Sequence[float], gamma: float | None) -> bytes:
    """With the curve of an exponent; None is sRGB's."""
    if gamma is not None:
        return bytes(imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=gamma))
    share = np.linspace(0, 1, 4096)
    curve = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, transferfunction=curve))
