"""What an AVIF holds, read from its boxes and headers before it is decoded (AVIF 1.1, MIAF: ISO/IEC 23000-22).

Accepted is one still image, whole or in tiles, and its alpha. What a file states is checked here once; the decoder
gets a file with these facts alone (:mod:`service.imaging.avif_decoder`).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from service.imaging.av1 import Codes, SequenceHeader, sequence_header
from service.imaging.heif import Extent, Items, read_items
from service.imaging.kinds import HEIC, Kind, refusal
from service.imaging.picture import TooManyParts
from service.imaging.profiles import Colours, coded_colours

_MOST_TILES = 1_000

_HEVC = (b"hvc1", b"hev1")
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_TRANSFORMS = (b"clap", b"irot", b"imir")
_KNOWN = (b"ispe", b"pixi", b"av1C", b"colr", b"pasp", b"auxC", *_TRANSFORMS)

# EXIF orientations, by how often an image is turned by 90 degrees against the clock; then not mirrored, or with top
# and bottom (0) or left and right (1) exchanged.
_ORIENTATIONS = {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}

# Codes of ITU-T H.273 that are decoded as an independent decoder does: none, BT.709, BT.601 twice and BT.2020.
_IDENTITY, _BT_709, _UNSTATED, _BT_601 = 0, 1, 2, 6
_MATRICES = (_IDENTITY, _BT_709, _UNSTATED, 5, _BT_601, 9)
_SRGB_CURVE = 13


class Raster(NamedTuple):
    """Pixels of the colours or of alpha, in one or more tiles by rows, which are alike."""

    size: tuple[int, int]
    rows: int
    columns: int
    tiles: tuple[tuple[Extent, ...], ...]
    header: SequenceHeader

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Columns and rows of all tiles, which may be more than are shown."""
        width, height = self.header.size
        return self.columns * width, self.rows * height


class Avif(NamedTuple):
    """An image: its pixels, its EXIF orientation, and its colours by a profile or, without, by codes."""

    raster: Raster
    alpha: Raster | None
    is_premultiplied: bool
    orientation: int
    codes: Codes  # how pixels become red, green and blue
    profile: bytes | None
    colours: Colours | None  # None for sRGB and for a profile


def read_avif(data: bytes) -> Avif:
    """Raises :class:`UnsupportedPicture` for what is not decoded for certain, :class:`TooManyParts`, and ``ValueError``
    and others for a damaged file."""
    items, whole = read_items(data), memoryview(data)
    primary = items.primary
    raster = _raster(items, primary, whole)
    alpha = _alpha(items, primary)
    codes, profile = _stated_colours(items, primary, raster.header)
    avif = Avif(
        raster,
        None if alpha is None else _raster(items, alpha, whole),
        bool(_targets(items, b"prem", primary)),
        _orientation(items, primary),
        codes,
        profile,
        None if profile else _colours(codes),
    )
    if avif.alpha is not None and avif.alpha.size != raster.size:
        raise ValueError("alpha of another size")
    return avif


def _raster(items: Items, number: int, data: memoryview) -> Raster:
    """The pixels of an item."""
    _check_item(items, number)
    size = _size(items, number)
    if items.kinds[number] == b"av01":
        return Raster(size, 1, 1, (items.extents[number],), _header(items, number, data))
    rows, columns = _grid(_bytes(items.extents[number], data), size)
    tiles = _targets(items, b"dimg", number)
    if len(tiles) != rows * columns or not tiles:
        raise ValueError("more or fewer tiles than stated")
    for tile in tiles:
        _check_item(items, tile)
        if items.kinds[tile] != b"av01" or any(each.name in _TRANSFORMS for each in items.properties[tile]):
            raise _unusual("tiles that are turned, cut or made of others")
    headers = {_header(items, tile, data) for tile in tiles}
    if len(headers) > 1:
        raise ValueError("tiles that differ")
    raster = Raster(size, rows, columns, tuple(items.extents[tile] for tile in tiles), headers.pop())
    for side, decoded, tile_side in zip(size, raster.decoded_size, raster.header.size, strict=True):
        if not 0 <= decoded - side < tile_side:
            raise ValueError("tiles that do not fit")
    return raster


def _targets(items: Items, kind: bytes, number: int) -> tuple[int, ...]:
    """The items that this one refers to."""
    return next((each.targets for each in items.references if (each.kind, each.source) == (kind, number)), ())


def _check_item(items: Items, number: int) -> None:
    """Raises :class:`UnsupportedPicture` for an item that is no AV1 data, or that one has to know more to decode."""
    kind = items.kinds[number]
    if kind in _HEVC:
        raise refusal(HEIC)
    if kind not in (b"av01", b"grid"):
        raise _unusual(f"an image that is made of others or coded otherwise ({_printable(kind)})")
    for each in items.properties[number]:
        if each.is_essential and each.name not in _KNOWN:
            raise _unusual(f"a property that few programs know ({_printable(each.name)})")


def _printable(code: bytes) -> str:
    return "".join(chr(byte) if 32 < byte < 127 else "?" for byte in code)


def _unusual(what: str) -> Exception:
    return refusal(Kind(f"an AVIF with {what}", "save it as a plain AVIF or as JPEG"))


def _size(items: Items, number: int) -> tuple[int, int]:
    stated = items.property(number, b"ispe")
    if stated is None:
        raise ValueError("an image without a size")
    width, height = struct.unpack_from(">II", stated, 4)
    return width, height


def _header(items: Items, number: int, data: memoryview) -> SequenceHeader:
    """What AV1 data state. Raises ``ValueError`` where the size is not that of the item: a decoder would take as much
    memory as the data say."""
    header = sequence_header(memoryview(_bytes(items.extents[number], data)))
    if header.size != _size(items, number):
        raise ValueError("the sizes of an item and of its data differ")
    return header


def _bytes(extents: tuple[Extent, ...], data: memoryview) -> memoryview | bytes:
    if len(extents) == 1:
        return data[extents[0].start : extents[0].start + extents[0].length]
    if sum(each.length for each in extents) > len(data):
        raise ValueError("more data than the file has")
    return b"".join(data[each.start : each.start + each.length] for each in extents)


def _grid(content: memoryview | bytes, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns (ISO/IEC 23008-12, section 6.6.2.3)."""
    flags, rows, columns = content[1], content[2] + 1, content[3] + 1
    if struct.unpack_from(">II" if flags & 1 else ">HH", content, 4) != size:
        raise ValueError("the sizes of a grid differ")
    if rows * columns > _MOST_TILES:
        raise TooManyParts("too many tiles")
    return rows, columns


def _is_alpha(items: Items, number: int) -> bool:
    stated = items.property(number, b"auxC")
    return stated is not None and bytes(stated[4:]).split(b"\0")[0] in _ALPHA


def _alpha(items: Items, primary: int) -> int | None:
    """The item with the alpha of this one. Decoders disagree about tiles with an alpha each."""
    tiles = _targets(items, b"dimg", primary)
    for each in items.references:
        if each.kind == b"auxl" and _is_alpha(items, each.source):
            if primary in each.targets:
                return each.source
            if not set(tiles).isdisjoint(each.targets):
                raise _unusual("an alpha for each tile")
    return None


def _orientation(items: Items, primary: int) -> int:
    """By EXIF's numbers. EXIF in an AVIF says nothing of it."""
    stated = [each for each in items.properties[primary] if each.name in _TRANSFORMS]
    names = [each.name for each in stated]
    if names != sorted(set(names), key=_TRANSFORMS.index):
        raise _unusual("turns and mirror images in an order that viewers do not agree about")
    turned, mirrored = 0, None
    for name, content, _ in stated:
        if name == b"irot":
            turned = content[0] & 3
        elif name == b"imir":
            mirrored = content[0] & 1
        elif not _is_whole(content, _size(items, primary)):
            raise _unusual("a part that is shown alone (clap)")
    return _ORIENTATIONS[mirrored][turned]


def _is_whole(clean_aperture: memoryview, size: tuple[int, int]) -> bool:
    """Whether all pixels are shown. Viewers cut, or do not."""
    width, by_width, height, by_height, right, _, down, _ = struct.unpack(">IIIIiIiI", clean_aperture)
    return (width, height, right, down) == (size[0] * by_width, size[1] * by_height, 0, 0)


def _stated_colours(items: Items, primary: int, header: SequenceHeader) -> tuple[Codes, bytes | None]:
    """Codes and a profile. What the boxes state comes before what the data state (MIAF, section 7.3.6.4)."""
    codes, profile = header.codes, None
    has_own = items.property(primary, b"colr") is not None
    stated = primary if has_own else next(iter(_targets(items, b"dimg", primary)), primary)
    for name, content, _ in items.properties[stated]:
        match name, bytes(content[:4]):
            case b"colr", b"nclx":
                primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", content, 4)
                codes = Codes(primaries, transfer, matrix, full_range=bool(flags & 0x80))
            case b"colr", b"prof" | b"rICC":
                profile = bytes(content[4:])
    if header.is_grey:
        codes = codes._replace(matrix=_BT_601)
    elif codes.matrix not in _MATRICES:
        raise refusal(_OF_VIDEO)
    return codes, profile


_OF_VIDEO = Kind("an AVIF in colours of video or of high dynamic range")


def _colours(codes: Codes) -> Colours | None:
    primaries = _BT_709 if codes.primaries == _UNSTATED else codes.primaries
    transfer = _SRGB_CURVE if codes.transfer == _UNSTATED else codes.transfer
    colours = coded_colours(primaries, transfer)
    if colours is None:
        raise refusal(_OF_VIDEO)
    return None if colours == coded_colours(_BT_709, _SRGB_CURVE) else colours
