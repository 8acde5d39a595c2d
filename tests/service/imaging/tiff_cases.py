"""TIFF: all modes, layouts, planes, byte orders and compressions."""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.service.imaging.cases import DEEP, GREY, INKS, PIXELS, RGB, SIDE, YCBCR, Case, premultiplied, with_alpha


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    """A TIFF of pixels ``[H, W, C]`` or ``[H, W]``, in planes where ``planarconfig`` says so."""
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
    for kind in (0, 4):
        tags = {258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 339: (3, kind)}
        yield Case(f"TIFF, undefined {kind}", written("<", tags, GREY.tobytes()), refused="1 x 8 undefined bits")
    yield from reversed_tiffs()
    alike = struct.pack("<3H", 8, 8, 8)
    for depths in ((8, 8, 16), (5, 6, 5)):
        data = tiff(PIXELS, photometric="rgb").replace(alike, struct.pack("<3H", *depths), 1)
        yield Case(f"TIFF, {depths} bits", data, refused=re.escape(" + ".join(map(str, depths)) + " bits"))
    inks = tiff(INKS, photometric="separated", compression="jpeg", rowsperstrip=16)
    yield Case("TIFF, JPEG in CMYK", inks)
    yield from contradictory_tiffs()
    yield Case("TIFF, CIELab", tiff(PIXELS, photometric="cielab"), refused="CIELab")
    yield Case("TIFF, bilevel", tiff(GREY > 128, photometric="minisblack"), refused="black and white")
    for bits, order in itertools.product((2, 4), ORDERS):
        yield Case(f"TIFF, {bits} bits of grey, {order}", shallow_tiff(bits, ORDERS[order]), coarse(bits))
    for subsampling, code in itertools.product(((1, 1), (2, 2)), (1, 5)):
        yield Case(f"TIFF, YCbCr, {subsampling}, {code}", ycbcr_tiff(subsampling, code), PIXELS)


def reversed_tiffs() -> Iterator[Case]:
    """Those with the lowest bit of a byte first: decoders disagree where a value is not a byte."""
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    modes: dict[str, tuple[dict[int, tuple[int, int]], bytes]] = {
        "grey": ({258: (3, 8), 262: (3, 1), 277: (3, 1)}, GREY.tobytes()),
        "grey 16": ({258: (3, 16), 262: (3, 1), 277: (3, 1)}, (GREY.astype("<u2") * 257).tobytes()),
        "CMYK": ({258: (3, 8), 262: (3, 5), 277: (3, 4)}, INKS.tobytes()),
    }
    for name, (tags, content) in modes.items():
        data = written("<", tags | {259: (3, 1), 266: (3, 2)}, content.translate(reverse))
        yield Case(f"TIFF, {name}, bits reversed", data, refused="reverse order")


def contradictory_tiffs() -> Iterator[Case]:
    """Those whose tags contradict each other, or the JPEG that they hold: decoders believe either."""
    rgb = {258: (3, 8), 262: (3, 2), 277: (3, 3)}
    packed = bytes(imagecodecs.packbits_encode(PIXELS.tobytes()))
    for name, compression, content in (("raw", 1, PIXELS.tobytes()), ("PackBits", 32773, packed)):
        tags = rgb | {259: (3, compression)}
        yield Case(f"TIFF, {name}, no predictor", written("<", tags | {317: (3, 1)}, content), PIXELS)
        yield Case(f"TIFF, {name}, predictor", written("<", tags | {317: (3, 2)}, content), refused="predictor")
    for name, photometric, inside in (("RGB", 2, "YCbCr"), ("YCbCr", 6, "RGB")):
        jpeg = bytes(imagecodecs.jpeg8_encode(PIXELS, level=95, outcolorspace=inside))
        tags = rgb | {259: (3, 7), 262: (3, photometric), 530: (3, 0x10001)}
        data = written("<", tags, jpeg, {530: 2})
        yield Case(f"TIFF, {name}, JPEG in {inside}", data, refused="state other colours")
    planes = tiff(PIXELS, photometric="rgb", compression="jpeg", planarconfig="separate", rowsperstrip=SIDE)
    yield Case("TIFF, RGB, JPEG in planes", planes, PIXELS)  # whose own colour is grey
    for num_colours in (200, 300):
        tags = {258: (3, 8), 259: (3, 1), 262: (3, 3), 277: (3, 1), 320: (3, 8)}
        data = written("<", tags, GREY.tobytes(), {320: 3 * num_colours})
        yield Case(f"TIFF, palette of {num_colours} colours", data, refused="palette")


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
    """The grey image in so many bits, shown in 8."""
    levels = (GREY >> (8 - bits)).astype(float) * 255 / (2**bits - 1)
    return np.repeat(levels.round().astype(np.uint8)[..., None], 3, axis=2)


def shallow_tiff(bits: int, order: str) -> bytes:
    """The grey image with several pixels in a byte."""
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
