"""``service.imaging``: every kind of picture that arrives, and everything that is not one."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from service.imaging import (
    EmptyPicture,
    PictureError,
    PictureLimits,
    PictureTooLarge,
    UndecodablePicture,
    UnsupportedPicture,
    read_picture,
)
from tests.service.profiles import fixed, icc_profile

RGB = NDArray[np.uint8]

LOSSLESS = [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def uniform(mode: str, colour: object, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def scene(width: int = 60, height: int = 44) -> RGB:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[:height, :width]
    channels = (255 * x / (width - 1), 255 * y / (height - 1), 255 * (x + 2 * y) / (width + 2 * height - 3))
    return np.stack(channels, axis=2).round().astype(np.uint8)


def frame(data: bytes, size: int = 40) -> NDArray[np.int_]:
    return read_picture(data, size).frame.astype(int)


def only_colour(data: bytes) -> list[int]:
    """The one colour of a picture that has only one."""
    colours = np.unique(frame(data).reshape(-1, 3), axis=0)
    assert len(colours) == 1
    return [int(value) for value in colours[0]]


def png(bits: int, colour_type: int, width: int, height: int, rows: bytes, *, extra: bytes = b"") -> bytes:
    """A PNG written by hand; every row of ``rows`` begins with its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(pages: list[dict[int, int]], pixels: bytes) -> bytes:
    """A little-endian TIFF written by hand: one strip that all pages share, and only the tags given."""
    data = bytearray(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels)
    for number, tags in enumerate(pages):
        entries = {**tags, 273: 8, 279: len(pixels)} if tags else {}
        following = len(data) + 6 + 12 * len(entries) if number < len(pages) - 1 else 0
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
        data += struct.pack("<I", following)
    return bytes(data)


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


GREY_PAGE = {256: 40, 257: 40, 258: 8, 259: 1, 262: 1, 277: 1, 278: 40}


# What a picture is turned into


def test_what_is_known_about_a_picture() -> None:
    data = encoded(Image.fromarray(scene(60, 44)), "WEBP")
    picture = read_picture(data, 32)
    assert picture.frame.shape == (32, 32, 3)
    assert picture.frame.dtype == np.uint8
    assert (picture.width, picture.height, picture.format) == (60, 44, "WEBP")
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_the_content_decides_the_format(image_format: str) -> None:
    assert read_picture(encoded(Image.fromarray(scene()), image_format), 32).format == image_format


@pytest.mark.parametrize(("image_format", "options"), LOSSLESS)
def test_a_picture_of_the_frame_size_is_untouched(image_format: str, options: dict[str, object]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    np.testing.assert_array_equal(frame(encoded(Image.fromarray(pixels), image_format, **options), 256), pixels)


def bicubic(pixels: RGB, size: int) -> NDArray[np.float64]:
    """Cubic convolution (a = -0.5) stretched by the scale, written out sample by sample."""

    def weights(length: int) -> NDArray[np.float64]:
        scale = length / size
        table = np.zeros((size, length))
        for target, source in itertools.product(range(size), range(length)):
            t = abs(source + 0.5 - (target + 0.5) * scale) / max(scale, 1.0)
            if t < 1:
                table[target, source] = 1.5 * t**3 - 2.5 * t**2 + 1
            elif t < 2:
                table[target, source] = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        return table / table.sum(axis=1, keepdims=True)

    # Each pass ends in 8 bits; of a wide picture the first goes across.
    across = np.clip(np.einsum("tx,yxc->ytc", weights(pixels.shape[1]), pixels), 0, 255).round()
    return np.clip(np.einsum("ty,yxc->txc", weights(pixels.shape[0]), across), 0, 255).round()


@pytest.mark.parametrize(("width", "height"), [(96, 50), (120, 33)])
def test_the_whole_picture_is_squashed_by_cubic_convolution(width: int, height: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.abs(frame(encoded(Image.fromarray(pixels), "PNG")) - bicubic(pixels, 40)).max() <= 1


def test_compression_gives_a_resized_picture_the_traces_of_jpeg_and_no_other() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "PNG")
    resized, compressed = (read_picture(data, 40, jpeg_quality=quality).frame for quality in (None, 75))
    np.testing.assert_array_equal(compressed, frame(encoded(Image.fromarray(resized), "JPEG", quality=75)))
    assert (compressed != resized).any()
    np.testing.assert_array_equal(read_picture(data, 96, jpeg_quality=75).frame, noise)


# Orientation as EXIF defines it: how the upright picture lies in the file.
STORED: dict[int, Callable[[RGB], RGB]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("image_format", "options", "tolerance"),
    [*((*lossless, 0) for lossless in LOSSLESS), ("JPEG", {"quality": 98, "subsampling": 0}, 4)],
)
def test_every_orientation_comes_out_upright(
    image_format: str, options: dict[str, object], tolerance: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene())))
    data = encoded(stored, image_format, exif=exif, **options)
    picture = read_picture(data, 40)
    assert (picture.width, picture.height) == (60, 44)
    upright = frame(encoded(Image.fromarray(scene()), "PNG"))
    assert np.abs(picture.frame.astype(int) - upright).max() <= tolerance


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def with_xmp(image_format: str, **options: Any) -> bytes:
    """A picture whose XMP says that it is turned."""
    if image_format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif image_format == "TIFF":
        options["tiffinfo"] = {700: XMP}
    else:
        options["xmp"] = XMP
    return encoded(Image.fromarray(scene()), image_format, **options)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_orientation_in_xmp_is_ignored_as_in_browsers(image_format: str) -> None:
    data = with_xmp(image_format)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x0112] == 6, "Pillow would turn it"
    picture = read_picture(data, 40)
    assert (picture.width, picture.height) == (60, 44)
    np.testing.assert_array_equal(picture.frame, frame(encoded(Image.fromarray(scene()), image_format)))


def test_xmp_after_the_pixels_is_ignored_too() -> None:
    data = with_xmp("PNG")
    start = data.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert read_picture(moved, 40).width == 60


@pytest.mark.parametrize("name", ["Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp"])
def test_an_orientation_in_text_of_imagemagick_is_ignored_as_in_browsers(name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes() if name.endswith(("exif", "APP1")) else XMP
    info = PngInfo()
    info.add_text(name, f"\nprofile\n{len(content):8}\n{content.hex()}\n", zip=True)
    data = encoded(Image.fromarray(scene()), "PNG", pnginfo=info)
    picture = read_picture(data, 40)
    assert (picture.width, picture.height) == (60, 44)
    np.testing.assert_array_equal(picture.frame, frame(encoded(Image.fromarray(scene()), "PNG")))


def test_exif_counts_where_xmp_says_something_else() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = read_picture(with_xmp("JPEG", exif=exif), 40)
    turned = encoded(Image.fromarray(scene()), "JPEG", exif=exif)
    np.testing.assert_array_equal(picture.frame, frame(turned))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0no exif", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_broken_exif_is_ignored(exif: bytes) -> None:
    image = Image.fromarray(scene())
    np.testing.assert_array_equal(frame(encoded(image, "JPEG", exif=exif)), frame(encoded(image, "JPEG")))


# Modes


@pytest.mark.parametrize(("image_format", "byte_order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_16_bit_grey_is_scaled(image_format: str, byte_order: str) -> None:
    values = scene(40, 40)[:, :, 2]
    deep = (values.astype(np.uint16) * 257).astype(f"{byte_order}u2")
    shown = frame(encoded(Image.fromarray(deep), image_format))
    np.testing.assert_array_equal(shown, np.repeat(values[:, :, None], 3, axis=2))


def test_16_bit_colour_is_scaled_like_grey() -> None:
    values = np.array([0, 255, 256, 300, 0x7FFF, 0x8000, 0xFE80, 0xFFFF], dtype=np.uint16).repeat(200)[: 40 * 40]
    grey = values.reshape(40, 40)
    rows = b"".join(b"\0" + row.repeat(3).astype(">u2").tobytes() for row in grey)
    colour = frame(png(16, 2, 40, 40, rows))
    np.testing.assert_array_equal(colour, frame(encoded(Image.fromarray(grey), "PNG")))
    np.testing.assert_allclose(colour[:, :, 0], grey / 257, atol=1)


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(np.ones((40, 40), dtype=np.float32)), "TIFF"),
        encoded(Image.fromarray(np.ones((40, 40), dtype=np.int32)), "TIFF"),
        tiff([{**GREY_PAGE, 258: 12}], bytes(40 * 60)),
        tiff([{**GREY_PAGE, 258: 16, 262: 0}], bytes(40 * 80)),
    ],
    ids=["float", "32 bits", "12 bits", "16 bits, white is zero"],
)
def test_grey_of_unknown_range_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedPicture, match="bits in grey"):
        read_picture(data, 32)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("alpha", [0, 64, 128, 255])
def test_alpha_lies_on_white(image_format: str, alpha: int) -> None:
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    shown = only_colour(encoded(uniform("RGBA", (200, 100, 0, alpha)), image_format, **options))
    expected = [(colour * alpha + 255 * (255 - alpha)) / 255 for colour in (200, 100, 0)]
    np.testing.assert_allclose(shown, expected, atol=1)


def test_grey_with_alpha() -> None:
    np.testing.assert_allclose(only_colour(encoded(uniform("LA", (100, 128)), "PNG")), [177, 177, 177], atol=1)


@pytest.mark.parametrize(("mode", "colour", "transparent"), [("RGB", (10, 20, 30), (10, 20, 30)), ("L", 10, 10)])
def test_a_transparent_colour_becomes_white(mode: str, colour: object, transparent: object) -> None:
    data = encoded(uniform(mode, colour), "PNG", transparency=transparent)
    assert only_colour(data) == [255, 255, 255]


def test_palette() -> None:
    image = Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40) % 3, mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    index = np.arange(1600).astype(np.uint8).reshape(40, 40) % 3
    np.testing.assert_array_equal(frame(encoded(image, "PNG")), colours[index])
    see_through = frame(encoded(image, "PNG", transparency=bytes([255, 0, 255])))
    np.testing.assert_array_equal(see_through, np.array([[255, 0, 0], [255, 255, 255], [0, 0, 255]])[index])


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "JPEG"])
def test_grey(image_format: str) -> None:
    assert only_colour(encoded(uniform("L", 90), image_format)) == [90] * 3


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_black_and_white_is_refused(image_format: str) -> None:
    with pytest.raises(UnsupportedPicture, match="without shades"):
        read_picture(encoded(uniform("1", 1), image_format), 32)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("inks", "expected"),
    [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 255, 255, 0), (255, 0, 0))],
)
def test_cmyk(image_format: str, inks: tuple[int, ...], expected: tuple[int, ...]) -> None:
    options = {"quality": 100, "subsampling": 0} if image_format == "JPEG" else {}
    np.testing.assert_allclose(only_colour(encoded(uniform("CMYK", inks), image_format, **options)), expected, atol=2)


# Colour profiles


def srgb_encoded(linear: float) -> float:
    """The transfer function of sRGB (IEC 61966-2-1), 0..1 to 0..255."""
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_follow_the_profile(image_format: str) -> None:
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = lossless.get(image_format, {})
    data = encoded(uniform("RGB", (20, 90, 200)), image_format, icc_profile=swapped_linear_profile(), **options)
    expected = [srgb_encoded(value / 255) for value in (200, 90, 20)]
    np.testing.assert_allclose(only_colour(data), expected, atol=4 if image_format == "JPEG" else 1.5)


def test_the_profile_survives_rotation_and_alpha() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = uniform("RGBA", (20, 90, 200, 255))
    data = encoded(image, "PNG", icc_profile=swapped_linear_profile(), exif=exif)
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(v / 255) for v in (200, 90, 20)], atol=1.5)


def test_grey_follows_its_profile() -> None:
    data = encoded(uniform("L", 55), "PNG", icc_profile=gray_profile())
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(55 / 255)] * 3, atol=1.5)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_follows_its_profile(image_format: str) -> None:
    def shown(inks: tuple[int, int, int, int]) -> list[int]:
        return only_colour(encoded(uniform("CMYK", inks), image_format, icc_profile=black_only_profile()))

    np.testing.assert_allclose(shown((255, 255, 0, 0)), [255, 255, 255], atol=2)
    np.testing.assert_allclose(shown((0, 0, 0, 255)), [0, 0, 0], atol=2)
    # L* of 49.8 is a luminance of 0.182.
    np.testing.assert_allclose(shown((0, 0, 0, 128)), [srgb_encoded(0.182)] * 3, atol=3)


@pytest.mark.parametrize("profile", [None, b"not a profile"])
def test_inks_without_a_profile_are_noted(profile: bytes | None) -> None:
    noted = read_picture(encoded(uniform("CMYK", (9, 8, 7, 6)), "JPEG", icc_profile=profile), 32).notes
    assert "cmyk_without_profile" in noted
    assert ("profile_ignored" in noted) == (profile is not None)


def test_the_profile_in_a_bmp_is_applied() -> None:
    profile = swapped_linear_profile()
    plain = encoded(uniform("RGB", (20, 90, 200)), "BMP")
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<III", 0, 124 + len(plain) - 54, len(profile)) + bytes(4)
    data = plain[:10] + struct.pack("<I", 138) + header[:124] + plain[54:] + profile
    np.testing.assert_allclose(only_colour(data), [srgb_encoded(v / 255) for v in (200, 90, 20)], atol=1.5)


@pytest.mark.parametrize("profile", [b"not a profile", black_only_profile(), gray_profile()[:200]])
def test_a_profile_that_does_not_fit_is_ignored(profile: bytes) -> None:
    data = encoded(uniform("RGB", (20, 90, 200)), "PNG", icc_profile=profile)
    assert only_colour(data) == [20, 90, 200]


def test_the_profile_of_srgb_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = (encoded(Image.fromarray(scene()), "PNG", icc_profile=p) for p in (None, profile))
    assert np.abs(frame(plain) - frame(tagged)).max() <= 1


# What is refused, and what is not


def test_no_bytes() -> None:
    with pytest.raises(EmptyPicture, match="empty"):
        read_picture(b"", 32)


@pytest.mark.parametrize(
    "data",
    [
        b"<html>lesion.jpg</html>",
        b"\x00" * 5000,
        b"%PDF-1.7 " + bytes(range(256)),
        encoded(Image.fromarray(scene()), "GIF"),
    ],
    ids=["text", "zeros", "PDF", "GIF"],
)
def test_other_types(data: bytes) -> None:
    with pytest.raises(UnsupportedPicture, match="takes JPEG, PNG, WebP, TIFF or BMP"):
        read_picture(data, 32)


@pytest.mark.parametrize("image_format", ["WEBP", "PNG", "TIFF"])
def test_several_frames_or_pages(image_format: str) -> None:
    others = [uniform("RGB", "red"), uniform("RGB", "blue")]
    data = encoded(uniform("RGB", "white"), image_format, save_all=True, append_images=others)
    with pytest.raises(UnsupportedPicture, match="single still picture"):
        read_picture(data, 32)


def test_pages_are_not_counted() -> None:
    """A long chain of pages would take minutes; the second one is reason enough, whatever comes after it."""
    assert read_picture(tiff([GREY_PAGE], bytes(1600)), 32).format == "TIFF"
    with pytest.raises(UnsupportedPicture, match="single still picture"):
        read_picture(tiff([GREY_PAGE, GREY_PAGE, {}], bytes(1600)), 32)


REDUCED, MASK = {254: 1}, {254: 4}


@pytest.mark.parametrize("others", [[REDUCED], [MASK], [REDUCED, REDUCED], [{255: 2}]], ids=str)
def test_a_thumbnail_or_mask_after_the_picture_is_no_second_page(others: list[dict[int, int]]) -> None:
    pages = [GREY_PAGE, *({**GREY_PAGE, **other} for other in others)]
    np.testing.assert_array_equal(read_picture(tiff(pages, bytes(1600)), 40).frame, 0)


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
    picture = read_picture(encoded(main, "MPO", save_all=True, append_images=[preview]), 40)
    assert (picture.format, picture.width, picture.height) == ("JPEG", 60, 44)
    np.testing.assert_array_equal(picture.frame, frame(encoded(main, "JPEG")))


def test_too_many_bytes() -> None:
    data = encoded(Image.fromarray(scene()), "PNG")
    assert read_picture(data, 32, PictureLimits(max_bytes=len(data)))
    with pytest.raises(PictureTooLarge, match=f"{len(data):,} bytes, the limit is {len(data) - 1:,}"):
        read_picture(data, 32, PictureLimits(max_bytes=len(data) - 1))


def test_too_many_pixels_are_refused_before_decoding() -> None:
    side = 13_000
    data = png(1, 0, side, side, (b"\0" + bytes((side + 7) // 8)) * 16)  # most rows are not even there
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureTooLarge, match="13000 x 13000 pixels"):
            read_picture(data, 32)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_a_jpeg_of_up_to_four_times_the_pixels_is_decoded_at_half_its_size(options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(scene(401, 300)), "JPEG", quality=95, exif=exif, **options)
    limits = PictureLimits(max_pixels=401 * 300 // 4 + 1)
    reduced, full = read_picture(data, 64, limits), read_picture(data, 64)
    assert (reduced.width, reduced.height) == (300, 401)
    assert np.abs(reduced.frame.astype(int) - full.frame).mean() < 1
    with pytest.raises(PictureTooLarge, match="for a JPEG"):
        read_picture(data, 64, PictureLimits(max_pixels=401 * 300 // 4 - 1))


def test_sides_are_limited() -> None:
    data = encoded(uniform("RGB", "red", (50, 40)), "PNG")
    assert read_picture(data, 32, PictureLimits(max_side=50)).width == 50
    with pytest.raises(PictureTooLarge, match="49 for a side"):
        read_picture(data, 32, PictureLimits(max_side=49))


def test_limits_of_pixels_and_sides_are_inclusive() -> None:
    data = encoded(uniform("RGB", "red", (50, 40)), "PNG")
    assert read_picture(data, 32, PictureLimits(max_pixels=2000, min_side=40)).width == 50
    with pytest.raises(PictureTooLarge):
        read_picture(data, 32, PictureLimits(max_pixels=1999))
    with pytest.raises(UndecodablePicture, match="each side needs 41 or more"):
        read_picture(data, 32, PictureLimits(min_side=41))


def test_bytes_after_the_picture_are_no_obstacle() -> None:
    data = encoded(Image.fromarray(scene()), "JPEG")
    np.testing.assert_array_equal(frame(data + b"<html>" * 100), frame(data))


def test_a_text_bomb() -> None:
    info = PngInfo()
    info.add_text("comment", "a" * 50_000_000, zip=True)
    data = encoded(Image.fromarray(scene()), "PNG", pnginfo=info)
    assert len(data) < 100_000
    with pytest.raises(UndecodablePicture):
        read_picture(data, 32)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_cut_off_picture(image_format: str) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), image_format)
    for length in np.linspace(16, 0.95 * len(data), 60).astype(int):
        with pytest.raises(UndecodablePicture, match="truncated or corrupt"):
            read_picture(data[:length], 32)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=lambda o: str(o))
def test_a_jpeg_that_lacks_more_than_its_end_mark(options: dict[str, Any]) -> None:
    """Its rest would be grey, or blurred."""
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", **options)
    cuts = [match.start() for match in re.finditer(b"\xff[\xda\xd0-\xd7]", data)]
    for length in [*cuts, *(cut + 2 for cut in cuts[1:]), *range(len(data) - 40, len(data) - 8)]:
        with pytest.raises(UndecodablePicture, match="truncated or corrupt"):
            read_picture(data[:length], 32)


SEEDS = [
    encoded(Image.fromarray(scene()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
    encoded(Image.fromarray(scene()), "JPEG", progressive=True, icc_profile=swapped_linear_profile()),
    encoded(Image.fromarray(scene()), "MPO", save_all=True, append_images=[uniform("RGB", "red")]),
    encoded(uniform("CMYK", (9, 8, 7, 6)), "JPEG", icc_profile=black_only_profile()),
    encoded(Image.fromarray(scene()), "PNG", icc_profile=swapped_linear_profile()),
    encoded(Image.fromarray(scene()).convert("P"), "PNG", transparency=3),
    encoded(Image.fromarray(scene()), "WEBP"),
    encoded(Image.fromarray(scene()).convert("RGBA"), "WEBP", lossless=True),
    encoded(Image.fromarray(scene()), "TIFF"),
    encoded(Image.fromarray(scene()), "TIFF", compression="tiff_lzw"),
    encoded(Image.fromarray(scene()[:, :, 0].astype(np.uint16)), "TIFF", compression="tiff_adobe_deflate"),
    encoded(Image.fromarray(scene()), "BMP"),
]


@given(
    seed=st.sampled_from(SEEDS),
    # Headers lie in front, so damage is aimed there as often as anywhere.
    damage=st.lists(st.tuples(st.integers(0, 400) | st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    keep=st.just(1.0) | st.floats(0.0, 1.0),
)
@settings(max_examples=400, deadline=None)
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
    assert picture.format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP")


# Real pictures


@pytest.mark.data
def test_originals_give_the_256_pixel_copies(data_root: Path) -> None:
    """The copies are JPEG files of quality 75; after the same compression the frames are theirs."""
    copies = {path.stem: path for path in data_root.glob("isic201*/*/*.jpg")}
    originals = sorted((data_root / "samples").glob("*.jpg"))
    assert originals
    for original in originals:
        with Image.open(copies[original.stem]) as copy:
            expected = np.asarray(copy.convert("RGB")).astype(int)
        shown = read_picture(original.read_bytes(), 256).frame
        compressed = frame(encoded(Image.fromarray(shown), "JPEG", quality=75), 256)
        assert np.abs(compressed - expected).mean() < 0.6, original.name


@pytest.mark.data
def test_copies_of_the_frame_size_come_through_as_they_decode(data_root: Path) -> None:
    for path in sorted(data_root.glob("isic2017/*/*.jpg"))[:20]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(frame(path.read_bytes(), 256), np.asarray(image))
