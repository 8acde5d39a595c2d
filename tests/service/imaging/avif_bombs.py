"""AVIF files of a few kilobytes that ask for much memory or time."""

from __future__ import annotations

import struct

import numpy as np

from tests.service.imaging.avifs import Item, avif, box, coded, encoded, full, grid, ispe, nclx, part_of, with_units
from tests.service.imaging.pictures import scene

ITEM = coded(encoded(scene()), nclx(1, 13, 6))
WITHIN = avif([ITEM], within=True)


def claiming(size: tuple[int, int]) -> Item:
    """An image whose size in the boxes and in the data is one that is not there."""
    end = 4 + ITEM.data[3]  # of the sequence header, behind a delimiter
    bits = f"{int.from_bytes(ITEM.data[4:end]):0{8 * (end - 4)}b}"
    longer = bits.replace(_sides(60, 44), _sides(*size), 1).ljust(8 * 24, "0")
    header = ITEM.data[2:3] + int(longer, 2).to_bytes(24)
    return ITEM._replace(
        data=with_units(ITEM.data[:2], header) + ITEM.data[end:], properties=[ispe(*size), *ITEM.properties[1:]]
    )


def _sides(*sides: int) -> str:
    """How a sequence header states a size: bits of both sides, then the sides."""
    lengths = [(side - 1).bit_length() for side in sides]
    values = [f"{side - 1:0{num}b}" for side, num in zip(sides, lengths, strict=True)]
    return "".join([*(f"{num - 1:04b}" for num in lengths), *values])


def with_larger_frame(side: int) -> bytes:
    """An image of 64 x 64 by its boxes and its sequence header, whose one frame says that it is larger."""
    sizes = "1111" * 2 + 2 * f"{63:016b}"
    sequence = _bytes("00010" + "0" * 19 + "111110" + sizes + "0" * 20 + "1" + "0" * 4 + "1")
    frame = _bytes("000101" + 2 * f"{side - 1:016b}" + "01") + np.random.default_rng(0).bytes(2_000)
    data = with_units(b"\x12\0", b"\x08" + sequence, b"\x30" + frame)
    return avif([ITEM._replace(data=data, properties=[ispe(64, 64), box(b"av1C", b"\x81\x1f\x0c\0")])])


def _bytes(bits: str) -> bytes:
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


def replaced(name: bytes, content: bytes) -> bytes:
    """A file with other bytes in the place of the box of this name."""
    meta = part_of(WITHIN, b"meta")
    return WITHIN.replace(meta, box(b"meta", meta[8:].replace(part_of(WITHIN, name), content)))


def nested(depth: int) -> bytes:
    """Boxes of metadata in one another."""
    content = b""
    for _ in range(depth):
        content = full(b"meta", content)
    return avif([ITEM])[:32] + content


def too_many() -> dict[str, bytes]:
    """More of something than any image needs, by what the refusal calls it."""
    associations = struct.pack(">I", 90) + b"".join(struct.pack(">HB", i, 255) + bytes(255) for i in range(90))
    return {
        "boxes": replaced(b"hdlr", box(b"free") * 6_000),
        "items": replaced(b"iloc", full(b"iloc", b"\x44\0\x4e\x20", bytes(20_000 * 14))),
        "properties": replaced(b"iprp", box(b"iprp", box(b"ipco", ispe(9, 9)), full(b"ipma", associations))),
        "tiles": avif([grid(40, 40, (2400, 1760), [2] * 1600), ITEM]),
        "units of AV1 data": avif([ITEM._replace(data=with_units(ITEM.data, *[b"\x78"] * 300))]),
        "references": replaced(b"idat", full(b"iref", box(b"cdsc", bytes(4)) * 3_000) + part_of(WITHIN, b"idat")),
        "extents": replaced(b"iloc", full(b"iloc", b"\x44\0\0\1\0\1\0\0\xff\xff", bytes(60_000))),
    }
