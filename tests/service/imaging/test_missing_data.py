"""Files of which a part is missing: another image would be judged, and no decoder says so."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.imaging import UndecodablePicture, read_picture
from service.imaging.jpeg import check_jpeg, intervals
from tests.service import hostile
from tests.service.tiny_bundle import picture_bytes

END = b"\xff\xd9"


def lesion(width: int = 480, height: int = 360) -> Image.Image:
    """A disc with a texture, before black corners."""
    noise = np.random.default_rng(3).integers(120, 200, (height, width, 3), dtype=np.uint8)
    image = Image.new("RGB", (width, height))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((20, 20, width - 20, height - 20), fill=255)
    image.paste(Image.fromarray(noise), mask=mask)
    return image


JPEGS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {"quality": 90}),
    "optimized": ("RGB", {"quality": 75, "optimize": True}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive grey": ("L", {"progressive": True}),
    "intervals of rows": ("RGB", {"restart_marker_rows": 1}),
    "intervals of blocks": ("RGB", {"restart_marker_blocks": 7}),
}


@pytest.fixture(scope="module", params=JPEGS)
def jpeg(request: pytest.FixtureRequest) -> bytes:
    mode, options = JPEGS[request.param]
    return picture_bytes(lesion().convert(mode), "JPEG", **options)


def refuse(data: bytes) -> None:
    with pytest.raises(UndecodablePicture, match="truncated or corrupt"):
        read_picture(data, 64)


def test_an_intact_jpeg_is_decoded_as_by_pillow(jpeg: bytes) -> None:
    with Image.open(io.BytesIO(jpeg)) as image:
        expected = np.asarray(Image.open(io.BytesIO(picture_bytes(image, "TIFF"))).resize((64, 64)).convert("RGB"))
        tail = read_picture(jpeg + b"\0\0\0\x18ftypmp42" + jpeg, 64)
        if image.mode == "RGB":
            expected = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
            np.testing.assert_array_equal(read_picture(jpeg, 64).frame, expected)
    np.testing.assert_array_equal(read_picture(jpeg, 64).frame, tail.frame)


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
def test_cut_off_with_an_end_mark(jpeg: bytes, part: float) -> None:
    refuse(jpeg[: int(len(jpeg) * part)] + END)


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.3), (0.3, 0.7), (0.1, 0.6), (0.5, 0.95)])
def test_a_piece_is_missing_in_the_middle(jpeg: bytes, start: float, end: float) -> None:
    refuse(jpeg[: int(len(jpeg) * start)] + jpeg[int(len(jpeg) * end) :])


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 75, "optimize": True}, {"restart_marker_rows": 1}])
def test_a_gap_of_zeros(options: dict[str, Any]) -> None:
    data = picture_bytes(lesion(), "JPEG", **options)
    for start in np.linspace(0.1, 0.8, 8) * len(data):
        refuse(data[: int(start)] + bytes(4096) + data[int(start) + 4096 :])
    half = len(data) // 2
    for num_zeros in (half, 20 * half):
        refuse(data[:half] + bytes(num_zeros))
        refuse(data[:half] + bytes(num_zeros) + END)


def test_a_gap_of_zeros_in_a_scan_that_refines() -> None:
    """Nearly any bits are codes there."""
    data = picture_bytes(lesion(), "JPEG", quality=95, progressive=True)
    last = data.rindex(b"\xff\xda")
    middle = (last + len(data)) // 2
    refuse(data[:middle] + bytes(2048) + data[middle + 2048 :])
    refuse(data[:middle] + bytes(len(data)))


def test_another_file_follows_half_of_one() -> None:
    data = picture_bytes(lesion(), "JPEG")
    for other in (data, b"<html>502 Bad Gateway</html>" * 300, b"\0\0\0\x18ftypmp42" + bytes(400)):
        refuse(data[: len(data) // 2] + other)


def test_intervals_are_missing() -> None:
    """Also eight of them, so that the numbers of the markers go on."""
    data = picture_bytes(lesion(), "JPEG", restart_marker_rows=1)
    starts = [match.start() for match in re.finditer(b"\xff[\xd0-\xd7]", data)]
    for num_missing in (1, 7, 8, 16):
        refuse(data[: starts[2]] + data[starts[2 + num_missing] :])


def test_very_many_intervals() -> None:
    image = lesion(1200, 800)
    data = picture_bytes(image, "JPEG", restart_marker_blocks=1)
    plain = picture_bytes(image, "JPEG")
    np.testing.assert_array_equal(read_picture(data, 64).frame, read_picture(plain, 64).frame)
    starts = [match.start() for match in re.finditer(b"\xff[\xd0-\xd7]", data)]
    refuse(data[: starts[500]] + data[starts[508] :])
    refuse(data[: starts[0]] + b"\xff\xd0" * 5_000_000 + END)


def test_many_intervals_in_many_scans() -> None:
    """Each takes the decoder calls, so only the markers of the last scans are counted."""
    data = hostile.with_restarts(64)
    assert 64**2 < len(intervals(data, check_jpeg(data))) < 50_000
    read_picture(data, 64)
    last = data.rindex(b"\xff\xd5")
    refuse(data[:last] + data[last + 2 :])


def test_a_damaged_interval() -> None:
    """Those after it are intact, so the image ends as it should."""
    data = picture_bytes(lesion(), "JPEG", restart_marker_rows=4)
    starts = [match.start() for match in re.finditer(b"\xff[\xd0-\xd7]", data)]
    middle = (starts[1] + starts[2]) // 2
    refuse(data[:middle] + data[middle + 500 :])


def test_scans_are_missing() -> None:
    data = picture_bytes(lesion(), "JPEG", progressive=True)
    starts = [match.start() for match in re.finditer(b"\xff\xda", data)]
    for start in starts[1:]:
        refuse(data[:start] + END)


@pytest.mark.parametrize("needless", [b"\0", b"\0" * 12, b"\xff\xff"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_few_needless_bytes_before_the_end_mark(options: dict[str, Any], needless: bytes) -> None:
    """Some cameras write them."""
    data = picture_bytes(lesion(), "JPEG", **options)
    picture = read_picture(data.removesuffix(END) + needless + END, 64)
    np.testing.assert_array_equal(picture.frame, read_picture(data, 64).frame)


@pytest.mark.parametrize("options", [{}, {"strip_size": 30_000}], ids=["strips", "few strips"])
def test_a_jpeg_in_a_tiff(options: dict[str, Any]) -> None:
    data = picture_bytes(lesion(), "TIFF", compression="jpeg", quality=90, **options)
    read_picture(data, 64)
    for start in np.linspace(0.1, 0.7, 4) * len(data):
        refuse(data[: int(start)] + bytes(1024) + data[int(start) + 1024 :])


@pytest.mark.parametrize("sides", [(8, 480), (48, 240), (65_500, 65_500)], ids=["low", "narrow", "huge"])
def test_a_jpeg_of_another_size_than_its_strip(sides: tuple[int, int]) -> None:
    data = picture_bytes(lesion(), "TIFF", compression="jpeg", quality=90)
    header = data.index(b"\xff\xc0") + 5
    refuse(data[:header] + struct.pack(">HH", *sides) + data[header + 4 :])


DEFLATED = [{"compression": "tiff_adobe_deflate"}, {"compression": "tiff_adobe_deflate", "strip_size": 30_000}]


@pytest.mark.parametrize("options", DEFLATED, ids=["one strip", "strips"])
def test_a_deflated_tiff_with_a_changed_byte(options: dict[str, Any]) -> None:
    """Its checksum tells, at which libtiff does not look."""
    data = bytearray(picture_bytes(lesion(), "TIFF", **options))
    read_picture(bytes(data), 64)
    for position in np.linspace(0.1, 0.9, 20) * len(data):
        changed = data.copy()
        changed[int(position)] ^= 0x55
        refuse(bytes(changed))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_a_compressed_tiff_that_states_no_length(compression: str) -> None:
    """It is as long as the file."""
    data = picture_bytes(lesion(), "TIFF", compression=compression, strip_size=2**24)
    start, lengths = data.rindex(struct.pack("<HHI", 279, 4, 1)), struct.pack("<H", 65_000)
    read_picture(data[:start] + lengths + data[start + 2 :], 64)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "zstd", "tiff_adobe_deflate", "lzma"])
def test_a_compressed_tiff_with_a_gap_of_zeros(compression: str) -> None:
    data = picture_bytes(lesion(), "TIFF", compression=compression)
    read_picture(data, 64)
    for start in np.linspace(0.1, 0.7, 4) * len(data):
        refuse(data[: int(start)] + bytes(2048) + data[int(start) + 2048 :])
    shade = picture_bytes(Image.new("RGB", (2000, 2000)), "TIFF", compression=compression)
    assert read_picture(shade, 64).width == 2000


@pytest.mark.parametrize("image_format", ["PNG", "BMP"])
def test_a_palette_lacks_colours(image_format: str) -> None:
    """Their pixels would be black."""
    image = lesion().quantize(200)
    read_picture(picture_bytes(image, image_format), 64)
    image.putpalette(image.getpalette()[:300])  # type: ignore[index]
    refuse(picture_bytes(image, image_format))


@pytest.mark.parametrize("options", [{"quality": 90}, {"lossless": True}], ids=["lossy", "lossless"])
def test_a_webp_that_ends_with_zeros(options: dict[str, Any]) -> None:
    data = picture_bytes(lesion(), "WEBP", **options)
    for part in (0.3, 0.5, 0.7):
        length = int(len(data) * part)
        refuse(data[:length] + bytes(len(data) - length))


@pytest.mark.parametrize("quality", [75, 100])
def test_a_webp_of_one_shade_is_intact(quality: int) -> None:
    assert (
        read_picture(picture_bytes(Image.new("RGB", (2000, 2000), "white"), "WEBP", quality=quality), 64).width == 2000
    )


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_cut_off_picture(image_format: str) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    data = picture_bytes(Image.fromarray(noise), image_format)
    for length in np.linspace(16, 0.95 * len(data), 60).astype(int):
        refuse(data[:length])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=lambda o: str(o))
def test_a_jpeg_that_lacks_more_than_its_end_mark(options: dict[str, Any]) -> None:
    """Its rest would be grey, or blurred."""
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = picture_bytes(Image.fromarray(noise), "JPEG", **options)
    cuts = [match.start() for match in re.finditer(b"\xff[\xda\xd0-\xd7]", data)]
    for length in [*cuts, *(cut + 2 for cut in cuts[1:]), *range(len(data) - 40, len(data) - 8)]:
        refuse(data[:length])
