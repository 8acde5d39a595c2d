"""Any damage gives an image or an image error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid

from service.imaging import PictureError, PictureLimits, read_picture
from tests.service.imaging.avifs import encoded, icc, imir, in_tiles, irot, nclx
from tests.service.imaging.dicoms import dicom, of_array, of_jpeg, run_lengths
from tests.service.imaging.pictures import scene, uniform
from tests.service.profiles import black_only_profile, swapped_linear_profile
from tests.service.tiny_bundle import picture_bytes

SCENE = Image.fromarray(scene())
SEEDS = [
    picture_bytes(SCENE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
    picture_bytes(SCENE, "JPEG", progressive=True, icc_profile=swapped_linear_profile()),
    picture_bytes(SCENE, "MPO", save_all=True, append_images=[uniform("RGB", "red")]),
    picture_bytes(uniform("CMYK", (9, 8, 7, 6)), "JPEG", icc_profile=black_only_profile()),
    picture_bytes(SCENE, "PNG", icc_profile=swapped_linear_profile()),
    picture_bytes(SCENE.convert("P"), "PNG", transparency=3),
    picture_bytes(SCENE, "WEBP"),
    picture_bytes(SCENE.convert("RGBA"), "WEBP", lossless=True),
    picture_bytes(SCENE, "TIFF"),
    picture_bytes(SCENE, "TIFF", compression="tiff_lzw"),
    picture_bytes(Image.fromarray(scene()[:, :, 0].astype(np.uint16)), "TIFF", compression="tiff_adobe_deflate"),
    picture_bytes(SCENE, "BMP"),
    *(encoded(scene(), pixelformat=chroma) for chroma in ("444", "420")),
    in_tiles(scene(100, 70), nclx(1, 13, 6), icc(swapped_linear_profile()), irot(1), imir(0)),
    of_jpeg(picture_bytes(SCENE, "JPEG")),
    of_array(scene()),
    dicom(run_lengths(scene()), SCENE.size, syntax=uid.RLELossless),
]


@given(
    seed=st.sampled_from(SEEDS),
    # Headers lie in front, so damage is aimed there as often as anywhere.
    damage=st.lists(st.tuples(st.integers(0, 400) | st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    keep=st.just(1.0) | st.floats(0.0, 1.0),
)
@settings(max_examples=400)
@pytest.mark.filterwarnings("ignore")
def test_damage_gives_a_picture_or_a_picture_error(seed: bytes, damage: list[tuple[int, int]], keep: float) -> None:
    data = bytearray(seed)
    for position, value in damage:
        data[position % len(data)] = value
    try:
        picture = read_picture(bytes(data[: int(keep * len(data))]), 32, PictureLimits(max_pixels=1_000_000))
    except PictureError:
        return
    assert picture.frame.shape == (32, 32, 3)
    assert picture.format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "DICOM")
