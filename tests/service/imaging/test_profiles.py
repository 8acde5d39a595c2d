"""Which colour profiles are applied."""

from __future__ import annotations

import struct

import pytest
from PIL import ImageCms

from service.imaging.profiles import is_simple_profile
from tests.service.profiles import chain_of_matrices, icc_profile


def _with_tag_before(profile: bytes, content: bytes) -> bytes:
    """The profile with one more tag, first in its table, whose content is the last of the file."""
    (num,) = struct.unpack_from(">I", profile, 128)
    table = struct.pack(">4sII", b"zzzz", len(profile) + 12, len(content))
    for position in range(132, 132 + 12 * num, 12):
        name, offset, size = struct.unpack_from(">4sII", profile, position)
        table += struct.pack(">4sII", name, offset + 12, size)
    return profile[:128] + struct.pack(">I", num + 1) + table + profile[132 + 12 * num :] + content


@pytest.mark.parametrize("damaged", [b"mft1\0\0\0\0", b"mft2\0\0\0\0\3", b"mAB \0\0\0\0", b"mBA \0\0\0\0\3\3"])
def test_a_costly_tag_behind_a_damaged_one_is_found(damaged: bytes) -> None:
    bomb = icc_profile(b"RGB ", b"XYZ ", {b"D2B0": chain_of_matrices(1000)})
    assert not is_simple_profile(bomb)
    assert not is_simple_profile(_with_tag_before(bomb, damaged))


def _table(sides: bytes) -> bytes:
    """A lutAToBType tag whose grid has so many nodes on each side."""
    return (
        b"mAB " + bytes(4) + bytes((len(sides), 3, 0, 0)) + struct.pack(">5I", 0, 0, 0, 32, 0) + sides.ljust(16, b"\0")
    )


@pytest.mark.parametrize(("sides", "is_simple"), [(b"\x21\x21\x21", True), (b"\xff\xff\xff", False)])
def test_tables_are_bounded(sides: bytes, is_simple: bool) -> None:
    assert is_simple_profile(icc_profile(b"RGB ", b"Lab ", {b"A2B0": _table(sides)})) == is_simple


def test_the_profile_of_srgb_is_simple() -> None:
    assert is_simple_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
