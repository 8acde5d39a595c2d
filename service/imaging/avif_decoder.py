"""Decode an AVIF's pixels: the native decoder gets the same AV1 data in boxes that are written here.

So no box of a sender's reaches native code, and what was checked is what is decoded.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import NamedTuple

import PIL.AvifImagePlugin
from PIL import Image
from PIL.ExifTags import Base

from service.imaging.avif import Avif, Raster
from service.imaging.heif import Extent

# Decoder processes may start no threads.
PIL.AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Bytes for a pixel: the decoder's result and Pillow's image, each with a fourth channel.
_RESULT_BYTES = 8
# Of alpha, in samples: that of another decoder, for which it is an image as well.
_ALPHA_SAMPLES = 3

_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
_ESSENTIAL = 1 << 15


class _Item(NamedTuple):
    """An item: its type, where its data are, its properties as boxes, and other items by how it refers to them."""

    kind: bytes
    extents: tuple[Extent, ...]
    properties: tuple[bytes, ...]
    references: tuple[tuple[bytes, Sequence[int]], ...] = ()


def decoding_bytes(avif: Avif) -> int:
    """The most memory that decoding takes, in bytes: measured, for each depth and layout."""
    header = avif.raster.header
    columns, rows = header.subsampling
    samples = 1.0 if header.is_grey else 1 + 2 / ((1 + columns) * (1 + rows))
    samples = samples * (1 + header.has_grain) + _ALPHA_SAMPLES * (avif.alpha is not None)
    width, height = avif.raster.decoded_size
    return round(width * height * (_RESULT_BYTES + samples * (1 + (header.depth > 8))))


def load_avif(avif: Avif, data: bytes) -> Image.Image:
    """The pixels as they are stored, of mode L, RGB or RGBA, with the orientation and the profile that are stated."""
    with Image.open(io.BytesIO(plain_avif(avif, data)), formats=("AVIF",)) as image:
        image.load()
    image.getexif()[Base.Orientation] = avif.orientation
    if avif.profile is not None:
        image.info["icc_profile"] = avif.profile
    return image


def plain_avif(avif: Avif, data: bytes) -> bytes:
    """An AVIF of these pixels and codes, and nothing else; the whole file is its data."""
    rasters = [raster for raster in (avif.raster, avif.alpha) if raster is not None]
    grids = [_grid(raster) for raster in rasters]
    codes = avif.codes
    colours = struct.pack(">HHHB", codes.primaries, codes.transfer, codes.matrix, codes.full_range << 7)
    items = _items(1, avif.raster, Extent(len(data), len(grids[0])), _box(b"colr", b"nclx", colours))
    if avif.alpha is not None:
        number = len(items) + 1
        place = Extent(len(data) + len(grids[0]), len(grids[1]))
        if avif.is_premultiplied:
            items[0] = items[0]._replace(references=(*items[0].references, (b"prem", (number,))))
        items += _items(number, avif.alpha, place, _full(b"auxC", _ALPHA), references=((b"auxl", (1,)),))
    start = _box(b"ftyp", b"avif", bytes(4), b"avif", b"mif1", b"miaf")
    shift = len(start) + len(_meta(items, 0)) + 8
    return start + _meta(items, shift) + _box(b"mdat", data, *grids)


def _items(
    first: int,
    raster: Raster,
    grid: Extent,
    *properties: bytes,
    references: tuple[tuple[bytes, Sequence[int]], ...] = (),
) -> list[_Item]:
    """The items of a raster, which are numbered from ``first``; one in tiles has its ``grid`` there."""
    header = raster.header
    columns, rows = header.subsampling
    layout = (header.depth > 8) << 6 | (header.depth > 10) << 5 | header.is_grey << 4 | columns << 3 | rows << 2
    own = (_ispe(header.size), _box(b"av1C", bytes((0x81, header.profile << 5, layout, 0))))
    if raster.size == header.size:
        return [_Item(b"av01", raster.tiles[0], (*own, *properties), references)]
    numbers = range(first + 1, first + 1 + len(raster.tiles))
    whole = _Item(b"grid", (grid,), (_ispe(raster.size), *properties), (*references, (b"dimg", numbers)))
    return [whole, *(_Item(b"av01", tile, own) for tile in raster.tiles)]


def _meta(items: list[_Item], shift: int) -> bytes:
    """The box of metadata; data begin ``shift`` bytes later than their places say."""
    places, infos, references, properties, associations = b"", b"", b"", [], b""
    for number, item in enumerate(items, 1):
        places += struct.pack(">HHH", number, 0, len(item.extents))
        places += b"".join(struct.pack(">II", shift + start, length) for start, length in item.extents)
        infos += _full(b"infe", struct.pack(">HH", number, 0), item.kind, b"\0", version=2)
        for kind, others in item.references:
            references += _box(kind, struct.pack(f">HH{len(others)}H", number, len(others), *others))
        associations += struct.pack(">HB", number, len(item.properties))
        for content in item.properties:
            properties.append(content)
            is_essential = content[4:8] == b"av1C"
            associations += struct.pack(">H", len(properties) | _ESSENTIAL * is_essential)
    num = struct.pack(">H", len(items))
    return _full(
        b"meta",
        _full(b"hdlr", bytes(4), b"pict", bytes(13)),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iloc", b"\x44\0", num, places),
        _full(b"iinf", num, infos),
        *([_full(b"iref", references)] if references else []),
        _box(b"iprp", _box(b"ipco", *properties), _full(b"ipma", bytes(2), num, associations, flags=1)),
    )


def _grid(raster: Raster) -> bytes:
    return struct.pack(">BBBBII", 0, 1, raster.rows - 1, raster.columns - 1, *raster.size)


def _ispe(size: tuple[int, int]) -> bytes:
    return _full(b"ispe", struct.pack(">II", *size))


def _full(name: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(name, bytes((version, 0, 0, flags)), *content)


def _box(name: bytes, *content: bytes) -> bytes:
    return b"".join((struct.pack(">I4s", 8 + sum(map(len, content)), name), *content))
