"""Every container, layout and depth: decoded as an independent decoder does, or refused by name."""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from service.imaging import UnsupportedPicture, read_picture
from tests.service.hostile import chunk
from tests.service.imaging import oracle
from tests.service.imaging.pictures import STORED
from tests.service.profiles import ADOBE_RGB, DISPLAY_P3, rgb_profile

SIDE = 64
# Of 255, on average over the pixels.
MOST_DIFFERENCE = 2.0

RGB = NDArray[np.uint8]


def scene() -> RGB:
    """A smooth picture without any symmetry, in colours of skin and lesion."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    lesion = np.exp(-(((x - 0.4) / 0.25) ** 2) - ((y - 0.6) / 0.2) ** 2)
    channels = (225 - 150 * lesion - 20 * x, 175 - 130 * lesion + 30 * y, 150 - 90 * lesion + 40 * x * y)
    return np.stack(channels, axis=2).round().astype(np.uint8)


PIXELS = scene()
GREY = np.ascontiguousarray(PIXELS[..., 1])
DEEP = PIXELS.astype(np.uint16) * 257
YCBCR = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))


class Case(NamedTuple):
    """A file, and what must become of it."""

    name: str
    data: bytes | bytearray
    expected: RGB | None = None  # None: what the independent decoder makes of it
    refused: str = ""  # part of the text


def saved(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    image.save(file, kind, **options)
    return file.getvalue()


def with_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """The pixels with an opaque, a half transparent and a see-through part; as alpha or premultiplied."""
    top = np.iinfo(pixels.dtype).max
    alpha = np.full((SIDE, SIDE, 1), top, pixels.dtype)
    alpha[SIDE // 2 :] = top // 2
    alpha[:, : SIDE // 8] = 0
    return np.concatenate([pixels if pixels.ndim == 3 else pixels[..., None], alpha], axis=2)


def premultiplied(pixels: NDArray[Any]) -> NDArray[Any]:
    top = np.iinfo(pixels.dtype).max
    shown = pixels.copy()
    shown[..., :-1] = (pixels[..., :-1].astype(float) * pixels[..., -1:] / top).round()
    return shown


INKS = np.concatenate([255 - PIXELS, np.full((SIDE, SIDE, 1), 30, np.uint8)], axis=2)


# TIFF


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    if options.get("planarconfig") == "separate":
        pixels = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(file, np.ascontiguousarray(pixels), metadata=None, **options)
    return file.getvalue()


LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {"rowsperstrip": SIDE},
    "strips": {"rowsperstrip": 10},
    "tiles": {"tile": (32, 48)},
}
ORDERS: dict[str, str] = {"II": "<", "MM": ">"}
PLANES = ("contig", "separate")

MODES: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "grey": (GREY, {"photometric": "minisblack"}),
    "grey 16": (GREY.astype(np.uint16) * 257, {"photometric": "minisblack"}),
    "white is zero": (255 - GREY, {"photometric": "miniswhite"}),
    "grey and alpha": (with_alpha(GREY), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "RGB": (PIXELS, {"photometric": "rgb"}),
    "RGB 16": (DEEP, {"photometric": "rgb"}),
    "RGB and alpha": (with_alpha(PIXELS), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "RGB and alpha 16": (with_alpha(DEEP), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "RGB premultiplied": (premultiplied(with_alpha(PIXELS)), {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "RGB and more": (with_alpha(PIXELS), {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "CMYK": (INKS, {"photometric": "separated"}),
    "CMYK 16": (INKS.astype(np.uint16) * 257, {"photometric": "separated"}),
}
# Lossless, and what is decoded; the others below.
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {},
    "LZW": {"compression": "lzw"},
    "LZW, predictor": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "zlib"},
    "deflate, predictor": {"compression": "zlib", "predictor": True},
    "PackBits": {"compression": "packbits"},
    "Zstandard": {"compression": "zstd"},
    "LZMA": {"compression": "lzma"},
}
OTHER_COMPRESSIONS = {
    "WebP": "webp",
    "JPEG 2000": "jpeg2000",
    "PNG": "png",
    "LERC": "lerc",
    "JPEG XR": "jpegxr",
    "JPEG XL": "jpegxl",
}


def tiffs() -> Iterator[Case]:
    """All modes, layouts, planes and byte orders uncompressed and by LZW; all compressions in one layout each."""
    for mode, (pixels, options) in MODES.items():
        for compression, layout, order, planes in itertools.product(("raw", "LZW"), LAYOUTS, ORDERS, PLANES):
            if planes == "separate" and pixels.ndim == 2:
                continue
            name = f"TIFF, {mode}, {compression}, {layout}, {order}, {planes}"
            chosen = options | COMPRESSIONS[compression] | LAYOUTS[layout]
            if pixels.ndim == 3:
                chosen |= {"planarconfig": planes}
            refused = "in separate planes" if mode == "grey and alpha" and planes == "separate" else ""
            yield Case(name, tiff(pixels, byteorder=ORDERS[order], **chosen), refused=refused)
        for compression in list(COMPRESSIONS)[2:]:
            if compression == "deflate, predictor" and mode == "CMYK 16":
                continue
            data = tiff(pixels, rowsperstrip=10, **options, **COMPRESSIONS[compression])
            yield Case(f"TIFF, {mode}, {compression}", data)
            if mode in ("RGB", "RGB 16"):
                data = tiff(pixels, rowsperstrip=10, planarconfig="separate", **options, **COMPRESSIONS[compression])
                yield Case(f"TIFF, {mode}, {compression}, separate", data)
    for mode, order in itertools.product(("RGB", "RGB 16", "grey"), ORDERS):
        pixels, options = MODES[mode]
        data = tiff(pixels, byteorder=ORDERS[order], bigtiff=True, **options)
        yield Case(f"BigTIFF, {mode}, {order}", data, refused="" if order == "II" else "BigTIFF")
    for layout in ("strips", "tiles"):
        chosen = (LAYOUTS[layout] if layout == "tiles" else {"rowsperstrip": 16}) | {"compression": "jpeg"}
        yield Case(f"TIFF, JPEG in RGB, {layout}", tiff(PIXELS, photometric="rgb", **chosen))
        for subsampling in ((1, 1), (2, 2)):
            data = tiff(YCBCR, photometric="ycbcr", subsampling=subsampling, **chosen)
            yield Case(f"TIFF, JPEG in YCbCr, {layout}, {subsampling}", data, PIXELS)
        yield Case(f"TIFF, JPEG in grey, {layout}", tiff(GREY, photometric="minisblack", **chosen))
    for name, compression in OTHER_COMPRESSIONS.items():
        data = tiff(PIXELS, photometric="rgb", compression=compression, rowsperstrip=SIDE)
        yield Case(f"TIFF, {name}", data, refused=name)
    ranges: dict[str, NDArray[Any]] = {
        "floating-point": PIXELS.astype(np.float32) / 255,
        "half": PIXELS.astype(np.float16) / 255,
        "signed": PIXELS.astype(np.int16),
        "32": DEEP.astype(np.uint32) << 16,
        "64": DEEP.astype(np.uint64) << 48,
    }
    for name, values in ranges.items():
        for planes in PLANES:
            data = tiff(values, photometric="rgb", planarconfig=planes)
            yield Case(f"TIFF, {name}, {planes}", data, refused="bits in RGB")
    palette = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2]).astype(np.uint16)
    for name, scale in {"16": 257, "8": 1}.items():
        data = tiff(GREY, photometric="palette", colormap=palette * np.uint16(scale))
        yield Case(f"TIFF, palette of {name} bits", data, np.moveaxis(palette[:, GREY], 0, -1).astype(np.uint8))
    yield from tiffs_of_more_channels()
    for bits, refused in {10: "10 bits in 16", 12: "12 bits in 16", 15: "15 bits in 16", 16: ""}.items():
        tag = (281, "H", 3, (2**bits - 1,) * 3, True)
        yield Case(
            f"TIFF, {bits} bits in 16", tiff(DEEP >> (16 - bits), extratags=[tag], photometric="rgb"), None, refused
        )
    for name, extra_tag in {
        "of any kind": (332, "H", 1, 2, True),
        "of a range": (336, "B", 2, (16, 235), True),
    }.items():
        yield Case(f"TIFF, inks {name}", tiff(INKS, photometric="separated", extratags=[extra_tag]), refused="inks")
    undefined = written("<", {258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 339: (3, 4)}, GREY.tobytes())
    yield Case("TIFF, undefined", undefined, refused="undefined")
    yield Case("TIFF, CIELab", tiff(PIXELS, photometric="cielab"), refused="CIELab")
    yield Case("TIFF, bilevel", tiff(GREY > 128, photometric="minisblack"), refused="black and white")
    for bits, order in itertools.product((2, 4), ORDERS):
        yield Case(f"TIFF, {bits} bits of grey, {order}", shallow_tiff(bits, ORDERS[order]), coarse(bits))
    for subsampling, code in itertools.product(((1, 1), (2, 2)), (1, 5)):
        yield Case(f"TIFF, YCbCr, {subsampling}, {code}", ycbcr_tiff(subsampling, code), PIXELS)


def tiffs_of_more_channels() -> Iterator[Case]:
    """Those that Pillow takes for others, or cannot read, in pixels and in planes."""
    modes: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "grey": (GREY, {"photometric": "minisblack"}),
        "grey (white is zero)": (GREY, {"photometric": "miniswhite"}),
        "RGB": (PIXELS, {"photometric": "rgb"}),
        "YCbCr": (YCBCR, {"photometric": "ycbcr", "subsampling": (1, 1)}),
    }
    for (mode, (pixels, options)), planes in itertools.product(modes.items(), PLANES):
        wrong: dict[str, list[str]] = {
            "premultiplied alpha": ["assocalpha"],
            "alpha, another channel": ["unassalpha", "unspecified"],
        }
        if mode == "RGB":
            wrong = {"alpha, another channel": ["unassalpha", "unspecified"]} if planes == "separate" else {}
        for name, extra in wrong.items():
            channels = with_alpha(pixels)
            channels = channels if len(extra) == 1 else np.concatenate([channels, GREY[..., None]], axis=2)
            data = tiff(channels, extrasamples=extra, planarconfig=planes, **options)
            yield Case(f"TIFF, {mode} with {name}, {planes}", data, refused=re.escape(f"{mode} with {name}"))
    depths: dict[str, NDArray[Any]] = {"": PIXELS, " 16": DEEP}
    for (mode, values), planes, order in itertools.product(depths.items(), PLANES, ORDERS):
        data = tiff(with_alpha(values), photometric="rgb", planarconfig=planes, byteorder=ORDERS[order])
        data = data.replace(struct.pack(f"{ORDERS[order]}H", 338), struct.pack(f"{ORDERS[order]}H", 65000), 1)
        yield Case(f"TIFF, RGB{mode} and a fourth channel, {planes}, {order}", data, refused="unknown meaning")


def coarse(bits: int) -> RGB:
    levels = (GREY >> (8 - bits)).astype(float) * 255 / (2**bits - 1)
    return np.repeat(levels.round().astype(np.uint8)[..., None], 3, axis=2)


def shallow_tiff(bits: int, order: str) -> bytes:
    values = (GREY >> (8 - bits)).reshape(SIDE, -1, 8 // bits)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    packed = np.bitwise_or.reduce(values << shifts, axis=2).astype(np.uint8).tobytes()
    return written(order, {258: (3, bits), 259: (3, 1), 262: (3, 1), 277: (3, 1)}, packed)


def ycbcr_tiff(subsampling: tuple[int, int], compression: int) -> bytes:
    """Brightness and colour without JPEG: in each block all brightnesses, then both colours."""
    wide, high = subsampling
    blocks = YCBCR.reshape(SIDE // high, high, SIDE // wide, wide, 3).transpose(0, 2, 1, 3, 4)
    light = blocks[..., 0].reshape(SIDE // high, SIDE // wide, -1)
    colour = blocks[..., 1:].mean(axis=(2, 3)).round().astype(np.uint8)
    content = np.concatenate([light, colour], axis=2).tobytes()
    if compression == 5:
        content = bytes(imagecodecs.lzw_encode(content))
    tags = {258: (3, 8), 259: (3, compression), 262: (3, 6), 277: (3, 3), 530: (3, wide | high << 16)}
    return written("<", tags, content, {530: 2})


def written(order: str, tags: dict[int, tuple[int, int]], pixels: bytes, counts: dict[int, int] | None = None) -> bytes:
    """A TIFF by hand: one strip, and tags of one value (type and value); more values come packed in one."""
    entries = {256: (4, SIDE), 257: (4, SIDE), 273: (4, 8), 278: (4, SIDE), 279: (4, len(pixels)), **tags}
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels)) + pixels
    data += struct.pack(f"{order}H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        count = (counts or {}).get(tag, 1)
        short = kind == 3 and count == 1
        data += struct.pack(f"{order}HHI", tag, kind, count) + struct.pack(
            f"{order}HH" if short else f"{order}I", value, *[0] * short
        )
    return data + bytes(4)


# The other containers


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
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::2, ::2])])
    yield Case("MPO", file.getvalue(), PIXELS)
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
    see_through = with_chunks(imagecodecs.png_encode(DEEP[..., 1].copy()), [(b"tRNS", bytes(2))])
    yield Case("PNG, grey 16 and a transparent shade", see_through, refused="transparent shade")
    yield Case("PNG, palette", saved(Image.fromarray(PIXELS).quantize(256), "PNG"))


def webps() -> Iterator[Case]:
    for lossless, pixels in itertools.product((False, True), (PIXELS, with_alpha(PIXELS))):
        data = imagecodecs.webp_encode(pixels, level=95, lossless=lossless)
        yield Case(f"WebP, {pixels.shape[2]} channels, {lossless}", data)


def bmps() -> Iterator[Case]:
    """Headers of all versions, depths and directions of rows, by hand."""
    flipped = PIXELS[::-1, :, ::-1]
    opaque = np.concatenate([flipped, np.full((SIDE, SIDE, 1), 255, np.uint8)], axis=2)
    clear = np.concatenate([flipped, np.zeros((SIDE, SIDE, 1), np.uint8)], axis=2)
    r, g, b = (PIXELS[::-1, :, channel].astype(np.uint16) >> 3 for channel in range(3))
    rgb555 = (r << 10 | g << 5 | b).astype("<u2")
    rgb565 = (r << 11 | (g << 1 | g >> 4) << 5 | b).astype("<u2")
    rounded = ((PIXELS >> 3).astype(float) * 255 / 31).round().astype(np.uint8)
    shades = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1).tobytes()
    greys = np.repeat(GREY[..., None], 3, axis=2)
    for header in (12, 40, 108, 124):
        yield Case(f"BMP, 24 bits, {header}", bmp(24, flipped, header=header), PIXELS)
    for header in (40, 108, 124):
        yield Case(f"BMP, 24 bits from above, {header}", bmp(24, flipped[::-1], header=header, above=True), PIXELS)
        yield Case(f"BMP, 32 bits, {header}", bmp(32, clear, header=header), PIXELS)
        yield Case(f"BMP, 16 bits, {header}", bmp(16, rgb555, header=header), rounded)
        masks = (0xF800, 0x7E0, 0x1F, 0)
        yield Case(f"BMP, 16 bits by masks, {header}", bmp(16, rgb565, header=header, masks=masks), rounded)
        yield Case(f"BMP, 8 bits, {header}", bmp(8, GREY[::-1], header=header, palette=shades), greys)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for header, pixels in itertools.product((108, 124), (opaque, clear)):
        name = f"BMP, 32 bits by masks, {header}, alpha {pixels[0, 0, 3]}"
        yield Case(name, bmp(32, pixels, header=header, masks=masks), PIXELS)
    turned = np.concatenate([PIXELS[::-1], np.zeros((SIDE, SIDE, 1), np.uint8)], axis=2)
    masks = (0xFF, 0xFF00, 0xFF0000, 0)
    for header in (40, 108):
        yield Case(f"BMP, RGB0, {header}", bmp(32, turned, header=header, masks=masks), refused="unusual order")
    yield Case("BMP, 4 bits", bmp(4, GREY[::-1, ::2], palette=shades[:64]), refused="16 colours")
    yield Case("BMP, 1 bit", bmp(1, GREY[::-1, ::8], palette=shades[:8]), refused="2 colours")
    yield Case("BMP, run lengths", bmp(8, GREY[::-1], palette=shades, compression=1), refused="compressed BMP")
    yield Case("BMP, JPEG", bmp(24, flipped, compression=4), refused="compressed BMP")


def bmp(
    bits: int,
    rows: NDArray[Any],
    *,
    header: int = 40,
    above: bool = False,
    masks: tuple[int, int, int, int] | None = None,
    palette: bytes = b"",
    compression: int = 0,
) -> bytes:
    height = -SIDE if above else SIDE
    if header == 12:
        head = struct.pack("<IHHHH", 12, SIDE, SIDE, 1, bits)
    else:
        kind = 3 if masks else compression
        head = struct.pack("<IiiHHIIiiII", header, SIDE, height, 1, bits, kind, rows.nbytes, 0, 0, len(palette) // 4, 0)
        if masks:
            head += struct.pack("<4I" if header > 40 else "<3I", *masks[: 4 if header > 40 else 3])
        head = head.ljust(header, b"\0")
    content = head + palette
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(content) + rows.nbytes, 0, 0, 14 + len(content))
        + content
        + rows.tobytes()
    )


NEARLY_LOSSLESS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
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
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.ascontiguousarray(store(PIXELS))
        for kind, options in NEARLY_LOSSLESS.items():
            data = saved(stored, kind, exif=exif, **options)
            yield Case(f"{kind}, orientation {orientation}", data, PIXELS)
        for planes in PLANES:
            deep = stored.astype(np.uint16) * 257
            tag = (274, "H", 1, orientation, True)
            data = tiff(deep, photometric="rgb", planarconfig=planes, extratags=[tag])
            yield Case(f"TIFF of 16 bits, orientation {orientation}, {planes}", data, PIXELS)


PARTS: tuple[Callable[[], Iterator[Case]], ...] = (tiffs, jpegs, pngs, webps, bmps, profiles, orientations)
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
