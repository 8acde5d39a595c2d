"""What a PNG says of itself, read from its chunks before it is decoded (PNG, third edition)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from service.imaging.kinds import PNG_SIGNATURE, Kind, refusal
from service.imaging.picture import TooManyParts
from service.imaging.profiles import (
    ADOBE_RGB,
    BT_2020,
    DISPLAY_P3,
    SRGB,
    Colours,
    Primaries,
    coded_colours,
    primaries_of,
)

_DEPTH = 24  # where its byte is, and that of the colour type behind it
_PALETTE = 3

# 20 MB in the smallest chunks that encoders write.
_MOST_CHUNKS = 50_000

# Encoders round differently; an exponent this close to sRGB's means sRGB.
_CHROMATICITY_TOLERANCE = 0.01
_EXPONENT_TOLERANCE = 0.1
# From linear values to those of cinemas; others are mistakes, which viewers ignore as well.
_EXPONENTS = (0.9, 3.0)


def check_png(data: bytes) -> None:
    """Raises :class:`TooManyParts` for more chunks than any encoder writes, and :class:`UnsupportedPicture` for a
    transparent shade that is not of 8 bits: Pillow compares it with pixels that it has scaled to 8."""
    depth, colour = data[_DEPTH : _DEPTH + 2].ljust(2, b"\0")
    for number, (name, _) in enumerate(_chunks(data)):
        if number == _MOST_CHUNKS:
            raise TooManyParts("too many chunks")
        if name == b"tRNS" and depth in (2, 4, 16) and colour != _PALETTE:
            what = f"a PNG of {depth} bits a channel with a transparent shade"
            raise refusal(Kind(what, "save it with 8 bits, or as JPEG"))


def png_colours(data: bytes) -> Colours | None:
    """Colours other than sRGB that a PNG states by cICP, or by gAMA and cHRM; None for sRGB and for an ICC profile.

    Raises :class:`UnsupportedPicture` for colours of high dynamic range, and of video with other levels.
    """
    stated: dict[bytes, bytes] = {}
    for name, content in _chunks(data):
        if name == b"IDAT":
            break
        if name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
            stated.setdefault(name, content)
    if len(code := stated.get(b"cICP", b"")) == 4:
        colours = _coded(code)
    elif b"iCCP" in stated or b"sRGB" in stated:
        return None
    else:
        primaries = _primaries(stated.get(b"cHRM", b""))
        colours = Colours(primaries, _exponent(stated.get(b"gAMA", b""), is_srgb=primaries is SRGB))
    return None if colours == Colours(SRGB, None) else colours


def _coded(code: bytes) -> Colours:
    primaries, transfer, matrix, full_range = code
    colours = coded_colours(primaries, transfer)
    if colours is None or (matrix, full_range) != (0, 1):
        raise refusal(Kind("a PNG in colours of video or of high dynamic range"))
    return colours


def _primaries(content: bytes) -> Primaries:
    """Those that cHRM states; sRGB's where it is missing or states none that can be."""
    if len(content) != 32:
        return SRGB
    stated = tuple(value / 100_000 for value in struct.unpack(">8I", content))
    for known in (SRGB, ADOBE_RGB, DISPLAY_P3, BT_2020):
        if all(abs(a - b) < _CHROMATICITY_TOLERANCE for a, b in zip(stated, known.chromaticities, strict=True)):
            return known
    return primaries_of(stated) or SRGB


def _exponent(content: bytes, *, is_srgb: bool) -> float | None:
    """The exponent that gAMA states; with the primaries of sRGB, one close to its curve's means that curve."""
    encoding = int.from_bytes(content) if len(content) == 4 else 0
    exponent = 100_000 / encoding if encoding else 0.0
    is_odd = not _EXPONENTS[0] <= exponent <= _EXPONENTS[1]
    return None if is_odd or (is_srgb and abs(exponent - 2.2) < _EXPONENT_TOLERANCE) else exponent


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks, up to 32 bytes; of damaged files as far as they go."""
    position, end = len(PNG_SIGNATURE), len(data)
    while position < end:
        length = int.from_bytes(data[position : position + 4])
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + min(length, 32)]
        position += 12 + length
