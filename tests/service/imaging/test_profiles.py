"""Which colour profiles are applied, and how colours follow them to sRGB."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.imaging import read_picture
from service.imaging.profiles import is_simple_profile
from tests.service.hostile import chunk, exif_of, segment
from tests.service.imaging.pictures import frame, only_colour, scene, uniform
from tests.service.profiles import (
    black_only_profile,
    chain_of_matrices,
    gray_profile,
    icc_profile,
    srgb_encoded,
    swapped_linear_profile,
)
from tests.service.tiny_bundle import picture_bytes


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


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_follow_the_profile(image_format: str) -> None:
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = lossless.get(image_format, {})
    data = picture_bytes(uniform("RGB", (20, 90, 200)), image_format, icc_profile=swapped_linear_profile(), **options)
    expected = [srgb_encoded(value / 255) for value in (200, 90, 20)]
    np.testing.assert_allclose(only_colour(data), expected, atol=4 if image_format == "JPEG" else 1.5)


def test_the_profile_survives_rotation_and_alpha() -> None:
    image = uniform("RGBA", (20, 90, 200, 255))
    data = picture_bytes(image, "PNG", icc_profile=swapped_linear_profile(), exif=exif_of(6))
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(v / 255) for v in (200, 90, 20)], atol=1.5)


def test_grey_follows_its_profile() -> None:
    data = picture_bytes(uniform("L", 55), "PNG", icc_profile=gray_profile())
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(55 / 255)] * 3, atol=1.5)


def test_grey_with_alpha_follows_its_profile() -> None:
    data = picture_bytes(uniform("LA", (55, 255)), "PNG", icc_profile=gray_profile())
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(55 / 255)] * 3, atol=1.5)


def test_a_large_profile_in_a_png() -> None:
    """Those of scanners, with tables, take some megabytes."""
    profile = swapped_linear_profile() + bytes(2**21)
    data = picture_bytes(uniform("RGB", (20, 90, 200)), "PNG", icc_profile=profile)
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(v / 255) for v in (200, 90, 20)], atol=1.5)


@pytest.mark.parametrize(
    ("image_format", "position", "damaged"),
    [
        ("JPEG", 2, segment(0xE2, b"ICC_PROFILE\0\1\2" + swapped_linear_profile())),
        ("PNG", 33, chunk(b"iCCP", b"name\0\0not compressed")),
    ],
    ids=["JPEG, the second part is missing", "PNG"],
)
def test_a_profile_that_cannot_be_read_is_noted(image_format: str, position: int, damaged: bytes) -> None:
    data = picture_bytes(uniform("RGB", (20, 90, 200)), image_format)
    assert read_picture(data, 32).notes == ()
    assert read_picture(data[:position] + damaged + data[position:], 32).notes == ("profile_ignored",)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_follows_its_profile(image_format: str) -> None:
    def shown(inks: tuple[int, int, int, int]) -> list[int]:
        return only_colour(picture_bytes(uniform("CMYK", inks), image_format, icc_profile=black_only_profile()))

    np.testing.assert_allclose(shown((255, 255, 0, 0)), [255, 255, 255], atol=2)
    np.testing.assert_allclose(shown((0, 0, 0, 255)), [0, 0, 0], atol=2)
    # L* of 49.8 is a luminance of 0.182.
    np.testing.assert_allclose(shown((0, 0, 0, 128)), [srgb_encoded(0.182)] * 3, atol=3)


@pytest.mark.parametrize("profile", [None, b"not a profile"])
def test_inks_without_a_profile_are_noted(profile: bytes | None) -> None:
    noted = read_picture(picture_bytes(uniform("CMYK", (9, 8, 7, 6)), "JPEG", icc_profile=profile), 32).notes
    assert "cmyk_without_profile" in noted
    assert ("profile_ignored" in noted) == (profile is not None)


def test_the_profile_in_a_bmp_is_applied() -> None:
    profile = swapped_linear_profile()
    plain = picture_bytes(uniform("RGB", (20, 90, 200)), "BMP")
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<III", 0, 124 + len(plain) - 54, len(profile)) + bytes(4)
    data = plain[:10] + struct.pack("<I", 138) + header[:124] + plain[54:] + profile
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(v / 255) for v in (200, 90, 20)], atol=1.5)


@pytest.mark.parametrize("profile", [b"not a profile", black_only_profile(), gray_profile()[:200]])
def test_a_profile_that_does_not_fit_is_ignored(profile: bytes) -> None:
    data = picture_bytes(uniform("RGB", (20, 90, 200)), "PNG", icc_profile=profile)
    assert only_colour(data) == [20, 90, 200]


def test_the_profile_of_srgb_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = (picture_bytes(Image.fromarray(scene()), "PNG", icc_profile=p) for p in (None, profile))
    assert np.abs(frame(plain) - frame(tagged)).max() <= 1
