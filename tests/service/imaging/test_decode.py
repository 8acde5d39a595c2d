"""``service.imaging``: what becomes of an image of every format, size and mode."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging import UnsupportedPicture, read_picture
from tests.service.hostile import chunk
from tests.service.imaging.pictures import GREY_PAGE, LOSSLESS, RGB, frame, only_colour, scene, tiff, uniform
from tests.service.tiny_bundle import picture_bytes


def test_what_is_known_about_a_picture() -> None:
    data = picture_bytes(Image.fromarray(scene(60, 44)), "WEBP")
    picture = read_picture(data, 32)
    assert picture.frame.shape == (32, 32, 3)
    assert picture.frame.dtype == np.uint8
    assert (picture.width, picture.height, picture.format) == (60, 44, "WEBP")
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_the_content_decides_the_format(image_format: str) -> None:
    assert read_picture(picture_bytes(Image.fromarray(scene()), image_format), 32).format == image_format


@pytest.mark.parametrize(("image_format", "options"), LOSSLESS)
def test_a_picture_of_the_frame_size_is_untouched(image_format: str, options: dict[str, object]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    np.testing.assert_array_equal(frame(picture_bytes(Image.fromarray(pixels), image_format, **options), 256), pixels)


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

    # Each pass ends in 8 bits; of a wide image the first goes across.
    across = np.clip(np.einsum("tx,yxc->ytc", weights(pixels.shape[1]), pixels), 0, 255).round()
    return np.clip(np.einsum("ty,yxc->txc", weights(pixels.shape[0]), across), 0, 255).round()


@pytest.mark.parametrize(("width", "height"), [(96, 50), (120, 33)])
def test_the_whole_picture_is_squashed_by_cubic_convolution(width: int, height: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.abs(frame(picture_bytes(Image.fromarray(pixels), "PNG")) - bicubic(pixels, 40)).max() <= 1


def test_compression_gives_a_resized_picture_the_traces_of_jpeg_and_no_other() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = picture_bytes(Image.fromarray(noise), "PNG")
    resized, compressed = (read_picture(data, 40, jpeg_quality=quality).frame for quality in (None, 75))
    np.testing.assert_array_equal(compressed, frame(picture_bytes(Image.fromarray(resized), "JPEG", quality=75)))
    assert (compressed != resized).any()
    np.testing.assert_array_equal(read_picture(data, 96, jpeg_quality=75).frame, noise)


@pytest.mark.parametrize(("image_format", "byte_order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_16_bit_grey_is_scaled(image_format: str, byte_order: str) -> None:
    values = scene(40, 40)[:, :, 2]
    deep = (values.astype(np.uint16) * 257).astype(f"{byte_order}u2")
    shown = frame(picture_bytes(Image.fromarray(deep), image_format))
    np.testing.assert_array_equal(shown, np.repeat(values[:, :, None], 3, axis=2))


def test_16_bit_colour_is_scaled_like_grey() -> None:
    values = np.array([0, 255, 256, 300, 0x7FFF, 0x8000, 0xFE80, 0xFFFF], dtype=np.uint16).repeat(200)[: 40 * 40]
    grey = values.reshape(40, 40)
    colour = frame(bytes(imagecodecs.png_encode(np.stack([grey] * 3, axis=2))))
    np.testing.assert_array_equal(colour, frame(picture_bytes(Image.fromarray(grey), "PNG")))
    np.testing.assert_allclose(colour[:, :, 0], grey / 257, atol=1)


@pytest.mark.parametrize(
    "data",
    [
        picture_bytes(Image.fromarray(np.ones((40, 40), dtype=np.float32)), "TIFF"),
        picture_bytes(Image.fromarray(np.ones((40, 40), dtype=np.int32)), "TIFF"),
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
    shown = only_colour(picture_bytes(uniform("RGBA", (200, 100, 0, alpha)), image_format, **options))
    expected = [(colour * alpha + 255 * (255 - alpha)) / 255 for colour in (200, 100, 0)]
    np.testing.assert_allclose(shown, expected, atol=1)


def test_grey_with_alpha() -> None:
    np.testing.assert_allclose(only_colour(picture_bytes(uniform("LA", (100, 128)), "PNG")), [177, 177, 177], atol=1)


@pytest.mark.parametrize(("mode", "colour", "transparent"), [("RGB", (10, 20, 30), (10, 20, 30)), ("L", 10, 10)])
def test_a_transparent_colour_becomes_white(mode: str, colour: object, transparent: object) -> None:
    data = picture_bytes(uniform(mode, colour), "PNG", transparency=transparent)
    assert only_colour(data) == [255, 255, 255]


def test_a_long_history_in_a_png() -> None:
    """As Photoshop keeps it, and ImageMagick compresses it."""
    data = picture_bytes(uniform("RGB", (200, 100, 0)), "PNG")
    history = chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(bytes(2**21)))
    assert only_colour(data[:33] + history + data[33:]) == [200, 100, 0]


def test_palette() -> None:
    image = Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40) % 3, mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    index = np.arange(1600).astype(np.uint8).reshape(40, 40) % 3
    np.testing.assert_array_equal(frame(picture_bytes(image, "PNG")), colours[index])
    see_through = frame(picture_bytes(image, "PNG", transparency=bytes([255, 0, 255])))
    np.testing.assert_array_equal(see_through, np.array([[255, 0, 0], [255, 255, 255], [0, 0, 255]])[index])


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "JPEG"])
def test_grey(image_format: str) -> None:
    assert only_colour(picture_bytes(uniform("L", 90), image_format)) == [90] * 3


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_black_and_white_is_refused(image_format: str) -> None:
    with pytest.raises(UnsupportedPicture, match="without shades"):
        read_picture(picture_bytes(uniform("1", 1), image_format), 32)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("inks", "expected"),
    [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 255, 255, 0), (255, 0, 0))],
)
def test_cmyk(image_format: str, inks: tuple[int, ...], expected: tuple[int, ...]) -> None:
    options = {"quality": 100, "subsampling": 0} if image_format == "JPEG" else {}
    np.testing.assert_allclose(
        only_colour(picture_bytes(uniform("CMYK", inks), image_format, **options)), expected, atol=2
    )


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
        compressed = frame(picture_bytes(Image.fromarray(shown), "JPEG", quality=75), 256)
        assert np.abs(compressed - expected).mean() < 0.6, original.name


@pytest.mark.data
def test_copies_of_the_frame_size_come_through_as_they_decode(data_root: Path) -> None:
    for path in sorted(data_root.glob("isic2017/*/*.jpg"))[:20]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(frame(path.read_bytes(), 256), np.asarray(image))
