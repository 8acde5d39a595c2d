"""Colour profiles (ICC.1:2022): which ones are applied, and one for a PNG that states its colours without."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

_MOST_TAGS = 100
_MOST_NODES = 1_000_000

_D50 = (0.9642, 1.0, 0.8249)
# sRGB's curve (IEC 61966-2-1) as a parametric one: exponent, a, b, c, d.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

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


class Colours(NamedTuple):
    """What a file without a profile states of its colours."""

    primaries: Primaries
    exponent: float | None  # of the transfer function; None is sRGB's


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
