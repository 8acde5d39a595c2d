"""Files of several pages, frames or views."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from service.imaging import UnsupportedPicture, read_picture
from tests.service.imaging.pictures import GREY_PAGE, frame, scene, tiff, uniform
from tests.service.tiny_bundle import picture_bytes


@pytest.mark.parametrize("image_format", ["WEBP", "PNG", "TIFF"])
def test_several_frames_or_pages(image_format: str) -> None:
    others = [uniform("RGB", "red"), uniform("RGB", "blue")]
    data = picture_bytes(uniform("RGB", "white"), image_format, save_all=True, append_images=others)
    with pytest.raises(UnsupportedPicture, match="single still image"):
        read_picture(data, 32)


def test_pages_are_not_counted() -> None:
    """A long chain of pages would take minutes; the second one is reason enough, whatever comes after it."""
    assert read_picture(tiff([GREY_PAGE], bytes(1600)), 32).format == "TIFF"
    with pytest.raises(UnsupportedPicture, match="single still image"):
        read_picture(tiff([GREY_PAGE, GREY_PAGE, {}], bytes(1600)), 32)


REDUCED, MASK = {254: 1}, {254: 4}


@pytest.mark.parametrize("others", [[REDUCED], [MASK], [REDUCED, REDUCED], [{255: 2}]], ids=str)
def test_a_thumbnail_or_mask_after_the_picture_is_no_second_page(others: list[dict[int, int]]) -> None:
    pages = [GREY_PAGE, *({**GREY_PAGE, **other} for other in others)]
    np.testing.assert_array_equal(read_picture(tiff(pages, bytes(1600)), 40).frame, 0)


def test_very_many_thumbnails_are_pages() -> None:
    """A chain of a million would take seconds to follow."""
    with pytest.raises(UnsupportedPicture, match="several pages"):
        read_picture(tiff([GREY_PAGE, *[{**GREY_PAGE, **REDUCED}] * 40], bytes(1600)), 32)


def test_a_full_page_after_a_thumbnail_is_a_second_page() -> None:
    pages = [GREY_PAGE, {**GREY_PAGE, **REDUCED}, GREY_PAGE]
    with pytest.raises(UnsupportedPicture, match="several pages"):
        read_picture(tiff(pages, bytes(1600)), 32)


@pytest.mark.parametrize("first", [REDUCED, {**REDUCED, 330: 8}, {50706: 0x104}, {262: 32803}, {262: 34892}], ids=str)
def test_raw_files_of_cameras_are_never_judged_by_their_thumbnail(first: dict[int, int]) -> None:
    with pytest.raises(UnsupportedPicture, match="camera's raw file"):
        read_picture(tiff([{**GREY_PAGE, **first}], bytes(1600)), 32)


def test_a_phone_picture_with_a_second_view_is_a_jpeg() -> None:
    main, preview = Image.fromarray(scene()), uniform("RGB", "red")
    picture = read_picture(picture_bytes(main, "MPO", save_all=True, append_images=[preview]), 40)
    assert (picture.format, picture.width, picture.height) == ("JPEG", 60, 44)
    np.testing.assert_array_equal(picture.frame, frame(picture_bytes(main, "JPEG")))
