"""AVIF files by hand: the AV1 data of an encoder, in boxes that a test chooses (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
BRANDS = (b"avif", b"mif1", b"miaf")


def box(name: bytes, *content: bytes) -> bytes:
    """A box of this content."""
    joined = b"".join(content)
    return struct.pack(">I", 8 + len(joined)) + name + joined


def full(name: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A box with a version and flags."""
    return box(name, struct.pack(">I", version << 24 | flags), *content)


class Item(NamedTuple):
    """An item: its type, its data, its properties as boxes, and what it refers to, by type of reference."""

    kind: bytes
    data: bytes
    properties: Sequence[bytes]
    references: Mapping[bytes, Sequence[int]] = MappingProxyType({})
    num_extents: int = 1


def ispe(width: int, height: int) -> bytes:
    """The size of an item, in pixels."""
    return full(b"ispe", struct.pack(">II", width, height))


def nclx(primaries: int, transfer: int, matrix: int, full_range: int = 1) -> bytes:
    """Colours by their codes."""
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, matrix, full_range << 7))


def icc(profile: bytes) -> bytes:
    """Colours by a profile."""
    return box(b"colr", b"prof", profile)


def irot(angle: int) -> bytes:
    """Turned by so many quarters against the clock."""
    return box(b"irot", bytes([angle]))


def imir(axis: int) -> bytes:
    """Mirrored: 0 exchanges top and bottom, 1 left and right."""
    return box(b"imir", bytes([axis]))


def clap(size: tuple[int, int], shift: tuple[int, int] = (0, 0)) -> bytes:
    """A part of the image, whose middle is this far from that of the whole."""
    return box(b"clap", struct.pack(">IIIIiIiI", size[0], 1, size[1], 1, shift[0], 1, shift[1], 1))


def auxc(kind: bytes = ALPHA) -> bytes:
    """What an auxiliary item is."""
    return full(b"auxC", kind)


def part_of(encoded: bytes, name: bytes) -> bytes:
    """The first box of this name in a file that an encoder wrote."""
    start = encoded.index(name) - 4
    return encoded[start : start + int.from_bytes(encoded[start : start + 4])]


def encoded(pixels: NDArray[Any], **options: Any) -> bytes:
    """A file as an encoder writes it: nearly lossless, in 4:4:4 unless ``options`` say otherwise."""
    return bytes(imagecodecs.avif_encode(np.ascontiguousarray(pixels), **{"level": 98, "speed": 8, **options}))


def coded(data: bytes, *properties: bytes, **references: Sequence[int]) -> Item:
    """The item that an encoder wrote, with its size and configuration, and more ``properties``."""
    kept = [part_of(data, name) for name in (b"ispe", b"av1C", b"pixi")]
    named = {name.encode(): numbers for name, numbers in references.items()}
    return Item(b"av01", part_of(data, b"mdat")[8:], [*kept, *properties], named)


def with_units(data: bytes, *units: bytes) -> bytes:
    """AV1 data with more units behind them."""
    return data + b"".join(bytes([unit[0] | 2]) + _variable(len(unit) - 1) + unit[1:] for unit in units)


def _variable(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _variable(value >> 7) if value > 0x7F else bytes([value])


def grid(rows: int, columns: int, size: tuple[int, int], tiles: Sequence[int], *properties: bytes) -> Item:
    """An item that is put together from others."""
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    return Item(b"grid", data, [ispe(*size), *properties], {b"dimg": tiles})


def in_tiles(pixels: NDArray[Any], *properties: bytes, **options: Any) -> bytes:
    """The pixels in tiles of 64 x 64, with an alpha of the same layout that hides nothing."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // 64), -(-width // 64)
    filled = np.pad(pixels, ((0, 64 * rows - height), (0, 64 * columns - width), (0, 0)), mode="edge")
    corners = [(64 * row, 64 * column) for row in range(rows) for column in range(columns)]
    tiles = [coded(encoded(filled[y : y + 64, x : x + 64], **options)) for y, x in corners]
    opaque = coded(encoded(np.full((64, 64), 255, np.uint8)))
    first, size = range(2, 2 + len(tiles)), (width, height)
    alphas = range(first[-1] + 2, first[-1] + 2 + len(tiles))
    alpha = grid(rows, columns, size, alphas, auxc())
    alpha = alpha._replace(references={**alpha.references, b"auxl": [1]})
    return avif([grid(rows, columns, size, first, *properties), *tiles, alpha, *[opaque] * len(tiles)])


_ESSENTIAL = (b"av1C", b"irot", b"imir", b"clap", b"lsel", b"a1op")


def avif(items: Sequence[Item], *, brands: Sequence[bytes] = BRANDS, primary: int = 1, within: bool = False) -> bytes:
    """A file of items, which are numbered from 1. ``within`` puts their data into the box of metadata."""
    properties = [content for item in items for content in item.properties]
    associations, number = b"", 0
    for id, item in enumerate(items, 1):
        associations += struct.pack(">HB", id, len(item.properties))
        for content in item.properties:
            number += 1
            associations += struct.pack(">H", number | (0x8000 if content[4:8] in _ESSENTIAL else 0))
    references = b"".join(
        box(kind, struct.pack(f">HH{len(to)}H", id, len(to), *to))
        for id, item in enumerate(items, 1)
        for kind, to in item.references.items()
    )
    infos = [full(b"infe", struct.pack(">HH", id, 0), item.kind, b"\0", version=2) for id, item in enumerate(items, 1)]

    def meta(start: int) -> bytes:
        places, at = b"", start
        for id, item in enumerate(items, 1):
            places += struct.pack(">HHHH", id, int(within), 0, item.num_extents)
            step = -(-len(item.data) // item.num_extents)
            for part in range(0, len(item.data), step):
                places += struct.pack(">II", at + part, min(step, len(item.data) - part))
            at += len(item.data)
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", primary)),
            full(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places, version=1),
            full(b"iinf", struct.pack(">H", len(items)), *infos),
            full(b"iref", references) if references else b"",
            box(
                b"iprp",
                box(b"ipco", *properties),
                full(b"ipma", struct.pack(">I", len(items)), associations, flags=1),
            ),
            box(b"idat", data) if within else b"",
        )

    data = b"".join(item.data for item in items)
    start = box(b"ftyp", brands[0], bytes(4), *brands[1:])
    if within:
        return start + meta(0)
    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", data)
