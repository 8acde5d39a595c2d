"""BMP: headers of all versions, depths and directions of rows."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.service.imaging.cases import GREY, PIXELS, SIDE, Case, with_alpha
from tests.service.imaging.oracle import on_white


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
    seen_through = with_alpha(PIXELS)
    for header in (108, 124):
        data = bmp(32, seen_through[::-1, :, [2, 1, 0, 3]], header=header, masks=masks)
        yield Case(f"BMP, 32 bits by masks, {header}, seen through", data, on_white(seen_through))
    turned = np.concatenate([PIXELS[::-1], np.zeros((SIDE, SIDE, 1), np.uint8)], axis=2)
    masks = (0xFF, 0xFF00, 0xFF0000, 0)
    for header in (40, 108):
        yield Case(f"BMP, RGB0, {header}", bmp(32, turned, header=header, masks=masks), refused="unusual order")
    within = bytearray(bmp(24, flipped))
    within[10:14] = struct.pack("<I", 20)
    yield Case("BMP, pixels within the header", within, refused="within its header")
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
    """A BMP by hand; ``rows`` as they are stored, from below unless ``above``."""
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
