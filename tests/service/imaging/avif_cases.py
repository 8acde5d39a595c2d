"""AVIF: depths, subsampling, ranges, matrices, colours, alpha, turns and tiles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.service.imaging import oracle
from tests.service.imaging.avifs import (
    Item,
    auxc,
    avif,
    box,
    clap,
    coded,
    encoded,
    grid,
    icc,
    imir,
    irot,
    nclx,
    with_units,
)
from tests.service.imaging.cases import GREY, PIXELS, RGB, SIDE, Case, with_alpha
from tests.service.profiles import DISPLAY_P3, gray_profile, rgb_profile, srgb_encoded
from tests.service.tiny_bundle import picture_bytes

GREYS = np.repeat(GREY[..., None], 3, axis=2)
SRGB = (1, 13, 6)
_SUBSAMPLING = ("444", "422", "420")


def deep(pixels: RGB, bits: int) -> NDArray[np.uint16]:
    """The pixels in more bits, of which the highest are repeated as the lowest."""
    values = pixels.astype(np.uint16)
    return np.asarray(values << (bits - 8) | values >> (16 - bits), dtype=np.uint16)


def avifs() -> Iterator[Case]:
    yield from _layouts()
    yield from _colours()
    yield from _alphas()
    yield from _turns()
    yield from _others()


def _layouts() -> Iterator[Case]:
    for bits, chroma in itertools.product((8, 10, 12), _SUBSAMPLING):
        pixels = PIXELS if bits == 8 else deep(PIXELS, bits)
        data = encoded(pixels, bitspersample=bits, pixelformat=chroma)
        yield Case(f"AVIF, {bits} bits, {chroma}", data, PIXELS)
        lossy = encoded(pixels, bitspersample=bits, pixelformat=chroma, level=60)
        yield Case(f"AVIF, {bits} bits, {chroma}, lossy", lossy)
        shown = avif([coded(encoded(_limited(PIXELS), pixelformat=chroma), nclx(*SRGB, 0))])
        yield Case(f"AVIF, {bits} bits, {chroma}, limited range in the boxes", shown, PIXELS)
    for chroma, quality in itertools.product(("4:4:4", "4:2:2", "4:2:0", "4:0:0"), (60, 95)):
        options = {"subsampling": chroma, "quality": quality, "range": "limited"}
        expected = GREYS if chroma == "4:0:0" else PIXELS
        data = picture_bytes(Image.fromarray(expected), "AVIF", **options)
        yield Case(f"AVIF, {chroma}, limited range, {quality}", data, expected if quality > 90 else None)
    for bits in (8, 10, 12):
        grey = encoded(GREY if bits == 8 else deep(GREY, bits), bitspersample=bits)
        yield Case(f"AVIF, grey, {bits} bits", grey, GREYS)
    yield Case("AVIF, lossless", bytes(imagecodecs.avif_encode(PIXELS, level=100, matrix=0)), PIXELS)
    for matrix in (0, 1, 2, 5, 6, 9):
        yield Case(f"AVIF, matrix {matrix}", encoded(PIXELS, matrix=matrix), PIXELS)
    for matrix in (4, 7, 8, 12):
        yield Case(f"AVIF, matrix {matrix}", encoded(PIXELS, matrix=matrix), refused="colours of video")


def _limited(pixels: RGB) -> RGB:
    """What has the values of ``pixels`` in limited range when it is stored in full range."""
    values = np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(float)
    values = values * (219 / 255, 224 / 255, 224 / 255) + (16, 128 * 31 / 255, 128 * 31 / 255)
    return np.asarray(Image.fromarray(values.round().astype(np.uint8), "YCbCr").convert("RGB"))


# Chromaticities of red, green and blue; white is D65 in all.
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def _to_xyz(code: int) -> NDArray[np.float64]:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in _PRIMARIES[code]]).T
    white = np.array((0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290))
    return columns * np.linalg.solve(columns, white)


def _shown(primaries: int, exponent: float | None) -> RGB:
    """The pixels, in these colours, in sRGB."""
    linear = oracle.linear(PIXELS, exponent) @ np.linalg.solve(_to_xyz(1), _to_xyz(primaries)).T
    return oracle.encoded(linear)


def _colours() -> Iterator[Case]:
    data = encoded(PIXELS)
    exponents = {1: None, 2: None, 4: 2.2, 6: None, 8: 1.0, 13: None, 14: None}
    for primaries, (transfer, exponent) in itertools.product((1, 2, 5, 6, 7, 9, 12), exponents.items()):
        named = avif([coded(data, nclx(primaries, transfer, 6))])
        expected = _shown(1 if primaries == 2 else primaries, exponent)
        yield Case(f"AVIF, colours {primaries}, {transfer}", named, expected)
    tile = coded(data, nclx(12, 8, 6))
    yield Case("AVIF, colours of a tile", avif([grid(1, 1, (SIDE, SIDE), [2]), tile]), _shown(12, 1.0))
    no_matrix = avif([coded(encoded(GREY), nclx(1, 13, 8))])
    yield Case("AVIF, grey with a matrix", no_matrix, GREYS)
    in_data = encoded(PIXELS, primaries=12, transfer=13, matrix=6)
    yield Case("AVIF, colours in the data alone", avif([coded(in_data)]), _shown(12, None))
    yield Case("AVIF, other colours in the data", avif([coded(in_data, nclx(*SRGB))]), PIXELS)
    for primaries, transfer in ((9, 16), (9, 18), (11, 13), (22, 13), (1, 11)):
        named = avif([coded(data, nclx(primaries, transfer, 6))])
        yield Case(f"AVIF, colours {primaries}, {transfer}", named, refused="high dynamic range")
    p3 = rgb_profile(DISPLAY_P3, 2.2)
    expected = oracle.to_srgb(PIXELS, "Display P3", 2.2)
    yield Case("AVIF, a profile and codes", avif([coded(data, nclx(9, 16, 6), icc(p3))]), expected)
    restricted = icc(p3).replace(b"prof", b"rICC")
    yield Case("AVIF, a restricted profile", avif([coded(data, restricted)]), expected)
    curve = np.array([srgb_encoded(value / 255) for value in range(256)]).round().astype(np.uint8)
    grey = avif([coded(encoded(GREY), nclx(*SRGB), icc(gray_profile()))])
    yield Case("AVIF, grey with a profile", grey, curve[GREYS])


def _alphas() -> Iterator[Case]:
    for name, pixels in {"RGB": PIXELS, "grey": GREY}.items():
        shown = oracle.on_white(with_alpha(pixels))
        alpha = encoded(with_alpha(pixels)[..., -1], level=100)
        item = coded(alpha, auxc(), auxl=[1])
        yield Case(f"AVIF, {name} and alpha", avif([coded(encoded(pixels), nclx(*SRGB)), item]), shown)
    hevc = coded(alpha, auxc(b"urn:mpeg:hevc:2015:auxid:1\0"), auxl=[1])
    shown = oracle.on_white(with_alpha(PIXELS))
    yield Case("AVIF, alpha by its other name", avif([coded(encoded(PIXELS)), hevc]), shown)
    depth = coded(alpha, auxc(b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0"), auxl=[1])
    yield Case("AVIF with distances", avif([coded(encoded(PIXELS)), depth]), PIXELS)
    half = np.full_like(GREY, 128)
    darker = (PIXELS * (128 / 255)).round().astype(np.uint8)
    file = avif([coded(encoded(darker), prem=[2]), coded(encoded(half), auxc(), auxl=[1])])
    yield Case("AVIF, premultiplied alpha", file, oracle.on_white(np.dstack([PIXELS, half])))
    rgba = with_alpha(PIXELS)
    yield Case("AVIF, RGBA of an encoder", picture_bytes(Image.fromarray(rgba), "AVIF", quality=95))


def _turns() -> Iterator[Case]:
    data = encoded(PIXELS)
    for angle, axis in itertools.product(range(4), (None, 0, 1)):
        turned = np.rot90(PIXELS, angle)
        expected = turned if axis is None else turned[::-1] if axis == 0 else turned[:, ::-1]
        mirror = [] if axis is None else [imir(axis)]
        yield Case(f"AVIF, turned {angle}, mirrored {axis}", avif([coded(data, irot(angle), *mirror)]), expected)
    mirrored = avif([coded(data, imir(1), irot(1))])
    yield Case("AVIF, mirrored before it is turned", mirrored, refused="in an order")
    yield Case("AVIF, turned twice", avif([coded(data, irot(1), irot(1))]), refused="in an order")
    exif = Image.Exif()
    exif[0x0112] = 6
    item = Item(b"Exif", b"\0\0\0\6" + exif.tobytes(), [], {b"cdsc": [1]})
    yield Case("AVIF, turned in EXIF alone", avif([coded(data), item]), PIXELS)
    broken = Item(b"Exif", b"\xff\xff\xff\xffno EXIF", [], {b"cdsc": [1]})
    yield Case("AVIF with broken EXIF", avif([coded(data), broken]), PIXELS)
    yield Case("AVIF, all of it shown", avif([coded(data, clap((SIDE, SIDE)))]), PIXELS)
    yield Case("AVIF, a part of it shown", avif([coded(data, clap((40, 40)))]), refused="shown alone")


def _others() -> Iterator[Case]:
    item = coded(encoded(PIXELS), nclx(*SRGB))
    yield Case("AVIF, data among the metadata", avif([item], within=True), PIXELS)
    yield Case("AVIF, another major brand", avif([item], brands=(b"mif1", b"miaf", b"avif")), PIXELS)
    yield Case("AVIF, the second item", avif([coded(encoded(PIXELS[::-1])), item], primary=2), PIXELS)
    thumbnail = coded(encoded(PIXELS[::2, ::2]), thmb=[1])
    yield Case("AVIF with a thumbnail", avif([item, thumbnail]), PIXELS)
    yield Case("AVIF, one tile", avif([grid(1, 1, (SIDE, SIDE), [2]), item]), PIXELS)
    yield Case("AVIF of three extents", avif([item._replace(num_extents=3)]), PIXELS)
    grain = picture_bytes(Image.fromarray(PIXELS), "AVIF", quality=90, advanced={"film-grain-test": "9"})
    yield Case("AVIF with film grain", grain)
    for kind in (b"iovl", b"iden", b"tmap", b"jpeg"):
        yield Case(f"AVIF, {kind.decode()}", avif([item._replace(kind=kind)]), refused=kind.decode())
    yield Case("AVIF brand, HEVC inside", avif([item._replace(kind=b"hvc1")]), refused="HEIC")
    layer = item._replace(properties=[*item.properties, box(b"lsel", bytes(2))])
    yield Case("AVIF, one of its layers", avif([layer]), refused="lsel")
    frames = item._replace(data=with_units(item.data, b"\x30" + bytes(9)))
    yield Case("AVIF of two frames", avif([frames]), refused="several layers or frames")
    yield Case("AVIF, an animation", avif([item], brands=(b"avis", b"avif")), refused="an AVIF animation")
    own = coded(encoded(GREY), auxc(), auxl=[2])
    yield Case("AVIF, a tile's alpha", avif([grid(1, 1, (SIDE, SIDE), [2]), item, own]), refused="alpha for each tile")
    tile = coded(encoded(PIXELS), irot(1))
    yield Case("AVIF, a turned tile", avif([grid(1, 1, (SIDE, SIDE), [2]), tile]), refused="tiles that are turned")
