"""Orientation: EXIF turns an image upright, and nothing else does."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.imaging import read_picture
from tests.service.hostile import exif_of
from tests.service.imaging.pictures import LOSSLESS, STORED, frame, scene
from tests.service.tiny_bundle import picture_bytes


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("image_format", "options", "tolerance"),
    [*((*lossless, 0) for lossless in LOSSLESS), ("JPEG", {"quality": 98, "subsampling": 0}, 4)],
)
def test_every_orientation_comes_out_upright(
    image_format: str, options: dict[str, object], tolerance: int, orientation: int
) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene())))
    data = picture_bytes(stored, image_format, exif=exif_of(orientation), **options)
    picture = read_picture(data, 40)
    assert (picture.width, picture.height) == (60, 44)
    upright = frame(picture_bytes(Image.fromarray(scene()), "PNG"))
    assert np.abs(picture.frame.astype(int) - upright).max() <= tolerance


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def with_xmp(image_format: str, **options: Any) -> bytes:
    """An image whose XMP says that it is turned."""
    if image_format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif image_format == "TIFF":
        options["tiffinfo"] = {700: XMP}
    else:
        options["xmp"] = XMP
    return picture_bytes(Image.fromarray(scene()), image_format, **options)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_orientation_in_xmp_is_ignored_as_in_browsers(image_format: str) -> None:
    data = with_xmp(image_format)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x0112] == 6, "Pillow would turn it"
    picture = read_picture(data, 40)
    assert (picture.width, picture.height) == (60, 44)
    np.testing.assert_array_equal(picture.frame, frame(picture_bytes(Image.fromarray(scene()), image_format)))


def test_xmp_after_the_pixels_is_ignored_too() -> None:
    data = with_xmp("PNG")
    start = data.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert read_picture(moved, 40).width == 60


@pytest.mark.parametrize("name", ["Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp"])
def test_an_orientation_in_text_of_imagemagick_is_ignored_as_in_browsers(name: str) -> None:
    exif = exif_of(6)
    content = exif.tobytes() if name.endswith(("exif", "APP1")) else XMP
    info = PngInfo()
    info.add_text(name, f"\nprofile\n{len(content):8}\n{content.hex()}\n", zip=True)
    data = picture_bytes(Image.fromarray(scene()), "PNG", pnginfo=info)
    picture = read_picture(data, 40)
    assert (picture.width, picture.height) == (60, 44)
    np.testing.assert_array_equal(picture.frame, frame(picture_bytes(Image.fromarray(scene()), "PNG")))


def test_exif_counts_where_xmp_says_something_else() -> None:
    exif = exif_of(3)
    picture = read_picture(with_xmp("JPEG", exif=exif), 40)
    turned = picture_bytes(Image.fromarray(scene()), "JPEG", exif=exif)
    np.testing.assert_array_equal(picture.frame, frame(turned))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0no exif", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_broken_exif_is_ignored(exif: bytes) -> None:
    image = Image.fromarray(scene())
    np.testing.assert_array_equal(frame(picture_bytes(image, "JPEG", exif=exif)), frame(picture_bytes(image, "JPEG")))
