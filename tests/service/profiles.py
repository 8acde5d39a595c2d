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
