"""Colour profiles made by hand (ICC.1:2022)."""

from __future__ import annotations

import struct

import numpy as np


def icc_profile(space: bytes, connection_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2, for display or print, of the tags given."""
    table, content, offset = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, offset + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    d50 = b"".join(fixed(value) for value in (0.9642, 1.0, 0.8249))
    size = struct.pack(">I", offset + len(content))
    header = size + bytes(4) + b"\x02\x10\0\0" + kind + space + connection_space + bytes(12) + b"acsp" + bytes(28)
    return header + d50 + bytes(48) + struct.pack(">I", len(tags)) + table + content


def fixed(value: float) -> bytes:
    """An s15Fixed16Number."""
    return struct.pack(">i", round(value * 65536))


def chain_of_matrices(num: int) -> bytes:
    """A multiProcessElement tag that applies one matrix ``num`` times; every entry of its table is the same."""
    element = b"matf" + bytes(4) + struct.pack(">HH12f", 3, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1e-6, 0, 0)
    head = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, num)
    return head + struct.pack(">II", len(head) + 8 * num, len(element)) * num + element


# Profiles of cameras and phones, from their published primaries (adapted to D50) and transfer functions.

ADOBE_RGB = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}
DISPLAY_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
PROPHOTO_RGB = {
    b"rXYZ": (0.79767, 0.28804, 0.0),
    b"gXYZ": (0.13519, 0.71188, 0.0),
    b"bXYZ": (0.03135, 0.00008, 0.82491),
}
SRGB_FROM_XYZ = np.linalg.inv(
    np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
)


def rgb_profile(primaries: dict[bytes, tuple[float, float, float]], exponent: float) -> bytes:
    """A profile of these primaries, with one exponent for all three."""
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(exponent * 256), 0)
    tags = {name: b"XYZ " + bytes(4) + b"".join(map(fixed, xyz)) for name, xyz in primaries.items()}
    return icc_profile(b"RGB ", b"XYZ ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


# A curve that changes nothing.
LINEAR = b"curv" + bytes(4) + struct.pack(">I", 0)


def swapped_linear_profile() -> bytes:
    """RGB with linear values, in which the first channel is the blue of sRGB and the last its red."""
    primaries = {b"bXYZ": (0.43607, 0.22249, 0.01392), b"gXYZ": (0.38515, 0.71687, 0.09708)}
    primaries[b"rXYZ"] = (0.14307, 0.06061, 0.71410)
    tags = {name: b"XYZ " + bytes(4) + b"".join(map(fixed, xyz)) for name, xyz in primaries.items()}
    return icc_profile(b"RGB ", b"XYZ ", {**tags, b"rTRC": LINEAR, b"gTRC": LINEAR, b"bTRC": LINEAR})


def gray_profile() -> bytes:
    """Grey with linear values."""
    return icc_profile(b"GRAY", b"XYZ ", {b"kTRC": LINEAR})


def black_only_profile() -> bytes:
    """CMYK in which only black is visible: L* falls from 100 to 0 with it."""
    identity = b"".join(fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    paper_and_black = bytes([255, 128, 128, 0, 128, 128]) * 8  # of the grid's axes, black is the innermost
    table = bytes([4, 3, 2, 0]) + identity + ramp * 4 + paper_and_black + ramp * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": b"mft1" + bytes(4) + table})


def srgb_encoded(linear: float) -> float:
    """The transfer function of sRGB (IEC 61966-2-1), 0..1 to 0..255."""
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)
