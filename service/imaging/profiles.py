"""Colour profiles (ICC.1:2022): which ones are applied, and one for a PNG that states its colours without."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_MOST_TAGS = 100
_MOST_NODES = 1_000_000

_D50 = (0.9642, 1.0, 0.8249)
# sRGB's curve (IEC 61966-2-1) as a parametric one: exponent, a, b, c, d.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

# Exponents of the transfer functions of ITU-T H.273; None is sRGB's, with which those of video are shown as well.
_CODED_EXPONENTS = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
# Primaries of video before high definition, in the order of :class:`Primaries`.
_CODED_VIDEO = {
    5: (0.3127, 0.3290, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
}

_Vector = tuple[float, float, float]


class Primaries(NamedTuple):
    """Red, green and blue of a colour space: their chromaticities, and XYZ at full strength under D50."""

    chromaticities: tuple[float, ...]  # x and y of white, red, green and blue
    colorants: tuple[_Vector, _Vector, _Vector]


SRGB = Primaries(
    (0.3127, 0.3290, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
)
ADOBE_RGB = Primaries(
    (0.3127, 0.3290, 0.640, 0.330, 0.210, 0.710, 0.150, 0.060),
    ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
)
DISPLAY_P3 = Primaries(
    (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
)
BT_2020 = Primaries(
    (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    ((0.67346, 0.27902, -0.00193), (0.16566, 0.67534, 0.02998), (0.12510, 0.04560, 0.79685)),
)


# From XYZ to the responses of the eye's cones, in which white is adapted (Bradford), by rows.
_CONES = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def primaries_of(chromaticities: tuple[float, ...]) -> Primaries | None:
    """Primaries of these chromaticities, in :class:`Primaries`' order; None where they span no colours."""
    try:
        white, *colours = (_xyz(*chromaticities[at : at + 2]) for at in (0, 2, 4, 6))
        strengths = _solved(colours, white)
        cones = tuple(zip(*_CONES, strict=True))
        here, there = _times(cones, white), _times(cones, _D50)
        adapted = (
            [value * b / a for value, a, b in zip(_times(cones, colour), here, there, strict=True)]
            for colour in colours
        )
        red, green, blue = (
            _vector(strength * value for value in _solved(cones, _vector(colour)))
            for strength, colour in zip(strengths, adapted, strict=True)
        )
    except ZeroDivisionError:
        return None
    return Primaries(chromaticities, (red, green, blue)) if min(strengths) > 0 else None


def _xyz(x: float, y: float) -> _Vector:
    return x / y, 1.0, (1 - x - y) / y


def _vector(values: Iterable[float]) -> _Vector:
    first, second, third = values
    return first, second, third


def _times(columns: Sequence[_Vector], factors: _Vector) -> _Vector:
    """A matrix, by its columns, times a vector."""
    return _vector(sum(c * f for c, f in zip(row, factors, strict=True)) for row in zip(*columns, strict=True))


def _solved(columns: Sequence[_Vector], result: _Vector) -> _Vector:
    """What a matrix, by its columns, has to be multiplied with for a result (Cramer's rule)."""
    whole = _determinant(*columns)
    replaced = ([result if at == column else columns[at] for at in range(3)] for column in range(3))
    return _vector(_determinant(*chosen) / whole for chosen in replaced)


def _determinant(a: _Vector, b: _Vector, c: _Vector) -> float:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1]) + c[0] * (a[1] * b[2] - a[2] * b[1])


class Colours(NamedTuple):
    """What a file without a profile states of its colours."""

    primaries: Primaries
    exponent: float | None  # of the transfer function; None is sRGB's


def coded_colours(primaries: int, transfer: int) -> Colours | None:
    """The colours of these codes of ITU-T H.273; None for those of other screens and of high dynamic range."""
    if transfer not in _CODED_EXPONENTS:
        return None
    known = {1: SRGB, 9: BT_2020, 12: DISPLAY_P3}.get(primaries)
    if known is None and primaries in _CODED_VIDEO:
        known = primaries_of(_CODED_VIDEO[primaries])
    return Colours(known, _CODED_EXPONENTS[transfer]) if known else None


def profile_of(colours: Colours) -> bytes:
    """An ICC profile of these colours, for RGB pixels."""
    kind, curve = (3, _SRGB_CURVE) if colours.exponent is None else (0, (colours.exponent,))
    parametric = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*curve)
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), (*colours.primaries.colorants, _D50), strict=True))
    contents = {name: b"XYZ " + bytes(4) + _fixed(*xyz) for name, xyz in tags.items()}
    contents |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), parametric)
    table, body, offset = b"", b"", 132 + 12 * len(contents)
    for name, content in contents.items():
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content
    header = struct.pack(">I", offset + len(body)) + bytes(4) + b"\x04\x30\0\0mntrRGB XYZ " + bytes(12) + b"acsp"
    return header + bytes(28) + _fixed(*_D50) + bytes(48) + struct.pack(">I", len(contents)) + table + body


def _fixed(*values: float) -> bytes:
    """Numbers as s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def is_simple_profile(profile: bytes) -> bool:
    """Whether the colour engine applies this ICC profile in bounded time (ICC.1:2022, sections 7.3 and 10).

    Camera and display profiles have some twenty tags, and printer profiles tables of a hundred thousand nodes. Chains
    of processing elements, which no camera writes, may repeat one element a million times. A profile that cannot be
    parsed is not simple: a tag behind the damage may be costly.
    """
    try:
        (num_tags,) = struct.unpack_from(">I", profile, 128)
        if num_tags > _MOST_TAGS:
            return False
        return all(_is_simple_tag(profile, 132 + 12 * i) for i in range(num_tags))
    except (struct.error, ValueError, IndexError):  # cut off: what follows is unknown
        return False


def _is_simple_tag(profile: bytes, position: int) -> bool:
    """Whether the tag whose table entry is at ``position`` has few enough nodes."""
    _, offset, _ = struct.unpack_from(">4sII", profile, position)
    match profile[offset : offset + 4]:
        case b"mpet":
            return False
        case b"mft1" | b"mft2":
            channels, outputs, grid = profile[offset + 8 : offset + 11]
            return bool(outputs * grid**channels <= _MOST_NODES)
        case b"mAB " | b"mBA ":
            channels, outputs = profile[offset + 8 : offset + 10]
            (table,) = struct.unpack_from(">I", profile, offset + 24)
            if not table:
                return True
            sides = struct.unpack_from(f"{channels}B", profile, offset + table)
            return bool(outputs * math.prod(sides) <= _MOST_NODES)
    return True
