"""Colour profiles made by hand (ICC.1:2022)."""

from __future__ import annotations

import struct


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
