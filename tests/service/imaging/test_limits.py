"""Limits of bytes, pixels and sides."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging import EmptyPicture, PictureLimits, PictureTooLarge, UndecodablePicture, read_picture
from tests.service.hostile import exif_of, png
from tests.service.imaging.pictures import scene, uniform
from tests.service.tiny_bundle import picture_bytes


def test_no_bytes() -> None:
    with pytest.raises(EmptyPicture, match="empty"):
        read_picture(b"", 32)


def test_too_many_bytes() -> None:
    data = picture_bytes(Image.fromarray(scene()), "PNG")
    assert read_picture(data, 32, PictureLimits(max_bytes=len(data)))
    with pytest.raises(PictureTooLarge, match=f"{len(data):,} bytes, the limit is {len(data) - 1:,}"):
        read_picture(data, 32, PictureLimits(max_bytes=len(data) - 1))


def test_too_many_pixels_are_refused_before_decoding() -> None:
    data = png((13_000, 13_000), 0, bits=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureTooLarge, match="13000 x 13000 pixels"):
            read_picture(data, 32)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_a_jpeg_of_up_to_four_times_the_pixels_is_decoded_at_half_its_size(options: dict[str, Any]) -> None:
    data = picture_bytes(Image.fromarray(scene(401, 300)), "JPEG", quality=95, exif=exif_of(6), **options)
    limits = PictureLimits(max_pixels=401 * 300 // 4 + 1)
    reduced, full = read_picture(data, 64, limits), read_picture(data, 64)
    assert (reduced.width, reduced.height) == (300, 401)
    assert np.abs(reduced.frame.astype(int) - full.frame).mean() < 1
    with pytest.raises(PictureTooLarge, match="for a JPEG"):
        read_picture(data, 64, PictureLimits(max_pixels=401 * 300 // 4 - 1))


def test_limits_of_pixels_and_sides_are_inclusive() -> None:
    data = picture_bytes(uniform("RGB", "red", (50, 40)), "PNG")
    assert read_picture(data, 32, PictureLimits(max_pixels=2000, max_side=50, min_side=40)).width == 50
    with pytest.raises(PictureTooLarge):
        read_picture(data, 32, PictureLimits(max_pixels=1999))
    with pytest.raises(PictureTooLarge, match="49 for a side"):
        read_picture(data, 32, PictureLimits(max_side=49))
    with pytest.raises(UndecodablePicture, match="each side needs 41 or more"):
        read_picture(data, 32, PictureLimits(min_side=41))


def test_a_webp_that_states_a_canvas_of_terabytes_is_refused_by_its_header() -> None:
    header = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + b"\xff" * 6
    picture = picture_bytes(uniform("RGB", (90, 80, 70)), "WEBP")
    riff = b"RIFF" + (len(picture) - 8 + len(header)).to_bytes(4, "little") + b"WEBP" + header + picture[12:]
    with pytest.raises(PictureTooLarge, match="16777216 x 16777216"):
        read_picture(riff, 32)
