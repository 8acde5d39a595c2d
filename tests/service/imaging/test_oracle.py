"""Every container, layout and depth: decoded as an independent decoder does, or refused by name."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging import UnsupportedPicture, read_picture
from tests.service.hostile import chunk, exif_of, png
from tests.service.imaging import oracle
from tests.service.imaging.avif_cases import avifs
from tests.service.imaging.bmp_cases import bmps
from tests.service.imaging.cases import DEEP, GREY, INKS, PIXELS, SIDE, Case, with_alpha
from tests.service.imaging.pictures import STORED
from tests.service.imaging.tiff_cases import PLANES, tiff, tiffs
from tests.service.profiles import ADOBE_RGB, DISPLAY_P3, rgb_profile
from tests.service.tiny_bundle import picture_bytes

# Of 255, on average over the pixels.
MOST_DIFFERENCE = 2.0


def saved(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    return picture_bytes(image, kind, **options)


def jpegs() -> Iterator[Case]:
    for progressive, subsampling in itertools.product((False, True), ("4:4:4", "4:2:2", "4:2:0")):
        options: dict[str, Any] = {"quality": 95, "progressive": progressive, "subsampling": subsampling}
        yield Case(f"JPEG, RGB, {subsampling}, {progressive}", saved(PIXELS, "JPEG", **options))
    for progressive in (False, True):
        yield Case(f"JPEG, grey, {progressive}", saved(GREY, "JPEG", quality=95, progressive=progressive))
        inks = Image.fromarray(INKS, "CMYK")
        cmyk = saved(inks, "JPEG", quality=98, progressive=progressive, subsampling=0)
        yield Case(f"JPEG, CMYK, {progressive}", cmyk)
    yield Case("JPEG, YCCK", imagecodecs.jpeg8_encode(255 - INKS, level=98, colorspace="CMYK", outcolorspace="YCCK"))
    yield Case("JPEG, RGB as such", imagecodecs.jpeg8_encode(PIXELS, level=95, outcolorspace="RGB"), PIXELS)
    preview = Image.fromarray(PIXELS[::2, ::2])
    yield Case("MPO", saved(PIXELS, "MPO", save_all=True, append_images=[preview]), PIXELS)
    for progressive, missing in itertools.product((False, True), (1, 2)):
        data = saved(PIXELS, "JPEG", quality=95, subsampling=0, progressive=progressive)[:-missing]
        yield Case(f"JPEG without its last {missing} bytes, {progressive}", data, PIXELS)
    deep = imagecodecs.jpeg8_encode(PIXELS.astype(np.uint16) << 4, level=95, bitspersample=12)
    yield Case("JPEG, 12 bits", deep, refused="12 bits")
    yield Case("JPEG, lossless", imagecodecs.jpeg8_encode(PIXELS, lossless=True), refused="lossless")
    yield Case("JPEG-LS", imagecodecs.jpegls_encode(PIXELS), refused="JPEG-LS")


def pngs() -> Iterator[Case]:
    modes: dict[str, NDArray[Any]] = {
        "grey": GREY,
        "grey 16": GREY.astype(np.uint16) * 257,
        "grey and alpha": with_alpha(GREY),
        "grey and alpha 16": with_alpha(GREY.astype(np.uint16) * 257),
        "RGB": PIXELS,
        "RGB 16": DEEP,
        "RGB and alpha": with_alpha(PIXELS),
        "RGB and alpha 16": with_alpha(DEEP),
    }
    for mode, pixels in modes.items():
        yield Case(f"PNG, {mode}", imagecodecs.png_encode(pixels))
    shallow = png((SIDE, SIDE), 0, bits=4)
    for name, data in {"grey 4": shallow, "grey 16": imagecodecs.png_encode(DEEP[..., 1].copy())}.items():
        see_through = with_chunks(data, [(b"tRNS", bytes(2))])
        yield Case(f"PNG, {name} and a transparent shade", see_through, refused="transparent shade")
    see_through = with_chunks(imagecodecs.png_encode(DEEP), [(b"tRNS", bytes(6))])
    yield Case("PNG, RGB 16 and a transparent shade", see_through, refused="transparent shade")
    yield Case("PNG, grey 4", shallow)
    yield Case("PNG, palette", saved(Image.fromarray(PIXELS).quantize(256), "PNG"))


def webps() -> Iterator[Case]:
    for lossless, pixels in itertools.product((False, True), (PIXELS, with_alpha(PIXELS))):
        data = imagecodecs.webp_encode(pixels, level=95, lossless=lossless)
        yield Case(f"WebP, {pixels.shape[2]} channels, {lossless}", data)


NEARLY_LOSSLESS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 98, "subsampling": "4:4:4"},
}


CHRM = {
    name: (b"cHRM", struct.pack(">8I", *values))
    for name, values in {
        "Adobe RGB": (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
        "ProPhoto RGB": (34570, 35850, 73470, 26530, 15960, 84040, 3660, 10),
    }.items()
}


def camera_jpeg(index: str, profile: bytes | None = None) -> bytes:
    """A JPEG that states its colours in EXIF."""
    exif = Image.Exif()
    exif[34665] = {40961: 65535, 40965: {1: index, 2: b"0100"}}
    return saved(PIXELS, "JPEG", quality=98, subsampling=0, exif=exif, icc_profile=profile)


def profiles() -> Iterator[Case]:
    yield Case("JPEG, Adobe RGB in EXIF", camera_jpeg("R03"), oracle.to_srgb(PIXELS, "Adobe RGB", 2.2))
    yield Case("JPEG, sRGB in EXIF", camera_jpeg("R98"), PIXELS)
    p3 = camera_jpeg("R03", rgb_profile(DISPLAY_P3, 2.2))
    yield Case("JPEG, Adobe RGB in EXIF and a profile", p3, oracle.to_srgb(PIXELS, "Display P3", 2.2))
    for name, primaries in {"Adobe RGB": ADOBE_RGB, "Display P3": DISPLAY_P3}.items():
        expected = oracle.to_srgb(PIXELS, name, 2.2)
        profile = rgb_profile(primaries, 2.2)
        for kind, options in NEARLY_LOSSLESS.items():
            data = saved(PIXELS, kind, icc_profile=profile, **options)
            yield Case(f"{kind}, {name}", data, expected)
    plain, deep = bytes(imagecodecs.png_encode(PIXELS)), bytes(imagecodecs.png_encode(DEEP))
    for name, chunks, primaries_name, exponent in (
        ("gamma 1", [(b"gAMA", struct.pack(">I", 100_000))], "", 1.0),
        ("gamma 1.8", [(b"gAMA", struct.pack(">I", 55_556))], "", 1.8),
        ("gamma 2.2", [(b"gAMA", struct.pack(">I", 45_455))], "", None),
        ("gamma 2.8", [(b"gAMA", struct.pack(">I", 35_714))], "", 2.8),
        ("gamma 0.5, a mistake", [(b"gAMA", struct.pack(">I", 200_000))], "", None),
        ("gamma 3.3, a mistake", [(b"gAMA", struct.pack(">I", 30_303))], "", None),
        ("sRGB and a gamma", [(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")], "", None),
        ("cICP sRGB", [(b"cICP", bytes((1, 13, 0, 1)))], "", None),
        ("cICP P3", [(b"cICP", bytes((12, 13, 0, 1)))], "Display P3", None),
        ("cICP linear", [(b"cICP", bytes((1, 8, 0, 1)))], "", 1.0),
        (
            "cHRM P3",
            [(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))],
            "Display P3",
            None,
        ),
        ("cHRM Adobe RGB and gamma 2.2", [CHRM["Adobe RGB"], (b"gAMA", struct.pack(">I", 45_455))], "Adobe RGB", 2.2),
        ("cHRM ProPhoto", [CHRM["ProPhoto RGB"], (b"gAMA", struct.pack(">I", 55_556))], "ProPhoto RGB", 1.8),
        ("cHRM of no colours", [(b"cHRM", bytes(32))], "", None),
    ):
        expected = (
            PIXELS if not primaries_name and exponent is None else oracle.to_srgb(PIXELS, primaries_name, exponent)
        )
        for depth, data in {"8": plain, "16": deep}.items():
            yield Case(f"PNG of {depth} bits, {name}", with_chunks(data, chunks), expected)
    grey = imagecodecs.png_encode(GREY)
    linear = oracle.to_srgb(np.repeat(GREY[..., None], 3, axis=2), "", 1.0)
    yield Case("PNG, linear grey", with_chunks(grey, [(b"gAMA", struct.pack(">I", 100_000))]), linear)
    yield Case("PNG, cICP PQ", with_chunks(plain, [(b"cICP", bytes((9, 16, 0, 1)))]), refused="high dynamic range")


def with_chunks(data: bytes | bytearray, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with more chunks after its header."""
    return bytes(data[:33]) + b"".join(chunk(name, content) for name, content in chunks) + data[33:]


def orientations() -> Iterator[Case]:
    for orientation, store in STORED.items():
        stored = np.ascontiguousarray(store(PIXELS))
        for kind, options in NEARLY_LOSSLESS.items():
            data = saved(stored, kind, exif=exif_of(orientation), **options)
            yield Case(f"{kind}, orientation {orientation}", data, PIXELS)
        for planes in PLANES:
            deep = stored.astype(np.uint16) * 257
            tag = (274, "H", 1, orientation, True)
            data = tiff(deep, photometric="rgb", planarconfig=planes, extratags=[tag])
            yield Case(f"TIFF of 16 bits, orientation {orientation}, {planes}", data, PIXELS)


PARTS: tuple[Callable[[], Iterator[Case]], ...] = (tiffs, jpegs, pngs, webps, bmps, avifs, profiles, orientations)
CASES = [case for part in PARTS for case in part()]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_as_the_independent_decoder(case: Case) -> None:
    if case.refused:
        with pytest.raises(UnsupportedPicture, match=case.refused):
            read_picture(bytes(case.data), SIDE)
        return
    expected = oracle.decode(bytes(case.data)) if case.expected is None else case.expected
    shown = read_picture(bytes(case.data), SIDE).frame
    assert np.abs(shown.astype(int) - expected).mean() < MOST_DIFFERENCE


def test_there_are_some_three_hundred() -> None:
    assert len(CASES) >= 300
    assert sum(not case.refused for case in CASES) >= 280
