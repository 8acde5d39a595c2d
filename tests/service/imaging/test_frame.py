"""Frames made in strips: bit for bit those of images that are turned, converted and resized in full size."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from service.imaging import read_picture
from tests.service.hostile import exif_of
from tests.service.profiles import icc_profile
from tests.service.tiny_bundle import picture_bytes

FRAME = 64
# Of several strips each; Pillow resizes the columns of the second one first, and of the last two only one side.
SIZES = [(700, 500), (150, 2400), (3000, 90), (40, 50), (FRAME, 500), (500, FRAME)]
RNG = np.random.default_rng(0)


def _noise(size: tuple[int, int], mode: str) -> Image.Image:
    coloured = Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8), "RGBA")
    return coloured if mode == "RGBA" else coloured.convert("RGB").convert(mode)


def _in_full_size(data: bytes) -> Image.Image:
    """What Pillow alone makes of an image without transparency."""
    with Image.open(io.BytesIO(data)) as stored:
        upright = ImageOps.exif_transpose(stored)
        if upright.mode == "RGBA":
            white = Image.new("RGB", upright.size, "white")
            white.paste(upright, mask=upright)
            upright = white
        if profile := stored.info.get("icc_profile"):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(upright, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None
            upright = converted
        return upright.convert("RGB").resize((FRAME, FRAME), Image.Resampling.BICUBIC)


def _check(image: Image.Image, **options: Any) -> None:
    data = picture_bytes(image, "TIFF" if image.mode == "CMYK" else "PNG", **options)
    picture = read_picture(data, FRAME)
    np.testing.assert_array_equal(picture.frame, np.asarray(_in_full_size(data)))
    turned = options.get("exif", {}).get(0x0112, 1) >= 5
    assert (picture.width, picture.height) == (image.size[::-1] if turned else image.size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned(size: tuple[int, int], orientation: int) -> None:
    _check(_noise(size, "RGB"), exif=exif_of(orientation))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_of_other_modes(size: tuple[int, int], mode: str) -> None:
    _check(_noise(size, mode))


@pytest.mark.parametrize("size", SIZES)
def test_with_a_profile(size: tuple[int, int]) -> None:
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + (round(1.8 * 256)).to_bytes(2, "big") + bytes(2)
    tags = {b"rXYZ": (40000, 20000, 1000), b"gXYZ": (13000, 41000, 4000), b"bXYZ": (9500, 4500, 49000)}
    primaries = {n: b"XYZ " + bytes(4) + b"".join(v.to_bytes(4, "big") for v in xyz) for n, xyz in tags.items()}
    profile = icc_profile(b"RGB ", b"XYZ ", {**primaries, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})
    _check(_noise(size, "RGB"), icc_profile=profile)
    assert read_picture(picture_bytes(_noise(size, "RGB"), icc_profile=profile), FRAME).notes == ()
