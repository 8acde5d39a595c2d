"""What a TIFF holds, read from its tags before it is decoded (TIFF 6.0, BigTIFF).

A TIFF is a container: of pages, of some forty ways to lay out and compress pixels, and of cameras' raw files. Accepted
are the layouts that decode to the same image in independent decoders; others are refused by name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from service.imaging.kinds import CAMERA_RAW, Kind, refusal
from service.imaging.picture import TooManyParts

# An image of 50,000 rows in strips of one row.
_MOST_STRIPS = 50_000
_MOST_PAGES = 32
# Values of a tag that are read; those that matter have one for each channel.
_MOST_VALUES = 8
_MOST_TAGS = 4_000

_SUBFILE, _OLD_SUBFILE = 254, 255
_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 258, 259, 262, 266
_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324
_CHANNELS, _GREATEST, _PLANES, _PREDICTOR, _PALETTE, _SUB_DIRECTORIES = 277, 281, 284, 317, 320, 330
_INKS, _DOT_RANGE, _EXTRA, _SAMPLE_FORMAT = 332, 336, 338, 339
_DNG_VERSION = 50706
_READ = {
    *(_SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _TILE_OFFSETS),
    *(_CHANNELS, _GREATEST, _PLANES, _PREDICTOR, _PALETTE, _SUB_DIRECTORIES),
    *(_INKS, _DOT_RANGE, _EXTRA, _SAMPLE_FORMAT, _DNG_VERSION),
}
# Bytes of a value, by its type.
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# Struct codes of the types that those tags have.
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2

_PHOTOMETRICS = {
    0: "grey (white is zero)",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "a mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32844: "LogL",
    32845: "LogLuv",
}
_SENSOR = (32803, 34892)  # a colour filter array, linear raw

_COMPRESSIONS = {
    1: "uncompressed",
    2: "CCITT",
    3: "fax",
    4: "fax",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_DECODED = (1, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
# With these, a predictor has no meaning, and only some decoders ignore it.
_WITHOUT_PREDICTOR = (1, 32773)
# Photometric interpretation and the channels of its colours: the depths that are decoded.
_DEPTHS = {(0, 1): (2, 4, 8), (1, 1): (2, 4, 8, 16), (2, 3): (8, 16), (3, 1): (2, 4, 8), (5, 4): (8, 16), (6, 3): (8,)}

# Photometric interpretation and depth: what may follow the colours (0: unspecified, 1: associated alpha, 2: alpha), in
# pixels and in planes.
_Extras = tuple[tuple[int, ...], ...]
_ANY_ALPHA: _Extras = ((0,), (1,), (2,))
_NOT_PREMULTIPLIED: _Extras = ((0,), (2,))
_EXTRAS: dict[tuple[int, int], tuple[_Extras, _Extras]] = {
    (1, 8): (_NOT_PREMULTIPLIED, ()),
    (2, 8): (
        tuple((alpha, *(0,) * more) for alpha in (0, 1, 2) for more in range(3)),
        (*_ANY_ALPHA, (0, 0), (0, 0, 0)),
    ),
    (2, 16): (_ANY_ALPHA, _ANY_ALPHA),
    (3, 8): (_NOT_PREMULTIPLIED, ()),
    (5, 8): (((0,), (0, 0)), ((0,), (0, 0))),
}


_ADVICE = "save it as TIFF in RGB of 8 or 16 bits with LZW or no compression, or as JPEG"
_NUMBERS = {0: "undefined ", 1: "", 2: "signed ", 3: "floating-point ", 4: "undefined ", 5: "complex ", 6: "complex "}
_MEANINGS = {0: "another channel", 1: "premultiplied alpha", 2: "alpha"}


class _Directory(NamedTuple):
    """The tags of one page that matter here: their counts and first values; and where the next page begins."""

    counts: dict[int, int]
    values: dict[int, tuple[int, ...]]
    following: int

    def get(self, tag: int, default: int) -> int:
        return next(iter(self.values.get(tag, ())), default)


def check_tiff(data: bytes) -> None:
    """Raises :class:`TooManyParts`, or :class:`UnsupportedPicture` for several pages, for a camera's raw file, and for
    a layout that is not decoded for certain. Damaged files pass: the decoder reports them."""
    if data.startswith(b"MM\0+"):
        raise refusal(Kind("a BigTIFF in big-endian byte order", "save it as an ordinary TIFF, or as JPEG"))
    pages = _pages(data)
    first = next(pages, None)
    if first is None:
        return
    if max(first.counts.get(_STRIP_OFFSETS, 0), first.counts.get(_TILE_OFFSETS, 0)) > _MOST_STRIPS:
        raise TooManyParts("too many strips or tiles")
    _check_first(data, first)
    for number, page in enumerate(pages, 2):
        if not _is_reduced(page) or number > _MOST_PAGES:
            raise refusal(Kind("a TIFF of several pages", "save one page as a single still image"))
    _check_layout(first)


def _check_first(data: bytes, first: _Directory) -> None:
    inner = [_directory(data, offset) for offset in first.values.get(_SUB_DIRECTORIES, ())]
    is_raw = any(page is not None and page.get(_PHOTOMETRIC, 0) in _SENSOR for page in (first, *inner))
    if is_raw or _DNG_VERSION in first.counts or data[8:10] == b"CR":
        raise refusal(CAMERA_RAW)
    if _is_reduced(first):
        raise refusal(Kind("a TIFF that begins with a thumbnail, such as a camera's raw file", CAMERA_RAW.advice))


def _is_reduced(page: _Directory) -> bool:
    """Whether a page repeats the image in small, or masks it."""
    return bool(page.get(_SUBFILE, 0) & (_REDUCED | _MASK)) or page.get(_OLD_SUBFILE, 0) == _OLD_REDUCED


def _check_layout(page: _Directory) -> None:
    photometric, compression = page.get(_PHOTOMETRIC, 0), page.get(_COMPRESSION, 1)
    # Old-style JPEG files may state neither.
    is_old_jpeg = compression == 6
    channels = page.get(_CHANNELS, 3 if is_old_jpeg else 1)
    depths = set(page.values.get(_BITS, (8 if is_old_jpeg else 1,)))
    kinds = set(page.values.get(_SAMPLE_FORMAT, (1,)))
    extra = page.values.get(_EXTRA, ())
    colours = channels - page.counts.get(_EXTRA, 0)
    depth = max(depths)
    in_planes = page.get(_PLANES, 1) == 2
    _check_meaning(page, photometric, depth, compression)
    if (
        compression in _DECODED
        and len(depths) == 1
        and kinds == {1}
        and depth in _DEPTHS.get((photometric, colours), ())
        and (not extra or extra in _EXTRAS.get((photometric, depth), ((), ()))[in_planes])
    ):
        return
    if depths == {1}:
        raise refusal(Kind("a TIFF in black and white without shades, such as a fax", "save the photo as JPEG"))
    numbers = _NUMBERS.get(max(kinds), "unknown ")
    what = _PHOTOMETRICS.get(photometric, "colours of an unknown kind")
    more = f" with {', '.join(_MEANINGS.get(one, 'unknown channels') for one in extra)}" if extra else ""
    if photometric == 2 and colours > 3:
        more = " with a channel of unknown meaning"
    how = _COMPRESSIONS.get(compression, "an unknown compression")
    bits = f"{channels} x {depth}" if len(depths) == 1 else " + ".join(map(str, page.values[_BITS]))
    text = f"a TIFF of {bits} {numbers}bits in {what}{more}, {how}{', in separate planes' * in_planes}"
    raise refusal(Kind(text, _ADVICE))


def _check_meaning(page: _Directory, photometric: int, depth: int, compression: int) -> None:
    """Refuse values of which decoders make different images: they do not fill their bits or have them in another
    order, are inks other than cyan, magenta, yellow and black, do not fit the palette, or may be differences."""
    if depth == 16 and 0 < (greatest := max(page.values.get(_GREATEST, (0,)))) < 2**15:
        raise refusal(Kind(f"a TIFF of {greatest.bit_length()} bits in 16", _ADVICE))
    if depth > 1 and page.get(_FILL_ORDER, 1) != 1:
        raise refusal(Kind("a TIFF with the bits of its bytes in reverse order", _ADVICE))
    if photometric == 5 and page.get(_INKS, 1) != 1:
        raise refusal(Kind("a TIFF in inks other than cyan, magenta, yellow and black", _ADVICE))
    if photometric == 5 and page.values.get(_DOT_RANGE, (0, 2**depth - 1))[:2] != (0, 2**depth - 1):
        raise refusal(Kind("a TIFF in inks of an unusual range", _ADVICE))
    if photometric == 3 and page.counts.get(_PALETTE) != 3 * 2**depth:
        raise refusal(Kind("a TIFF whose palette does not fit its values", _ADVICE))
    if compression in _WITHOUT_PREDICTOR and page.get(_PREDICTOR, 1) != 1:
        raise refusal(Kind(f"a TIFF with a predictor, {_COMPRESSIONS[compression]}", _ADVICE))


def _pages(data: bytes) -> Iterator[_Directory]:
    """The chain of pages; it ends where it turns back, as for Pillow, or is cut off."""
    seen: set[int] = set()
    big, order = _form(data)
    try:
        (offset,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)
    except struct.error:
        return
    while offset and offset not in seen:
        seen.add(offset)
        page = _directory(data, offset)
        if page is None:
            return
        yield page
        offset = page.following


def _form(data: bytes) -> tuple[bool, str]:
    """Whether a file is a BigTIFF, and its byte order for ``struct``."""
    return data[2:3] == b"+" or data[3:4] == b"+", "<" if data.startswith(b"II") else ">"


def _directory(data: bytes, offset: int) -> _Directory | None:
    """The directory at ``offset``; None for one that is cut off."""
    big, order = _form(data)
    entry = struct.Struct(f"{order}HHQ" if big else f"{order}HHI")
    size, inline = (20, 8) if big else (12, 4)
    counts: dict[int, int] = {}
    values: dict[int, tuple[int, ...]] = {}
    try:
        (num,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, offset)
        begin = offset + (8 if big else 2)
        if num > _MOST_TAGS:
            raise TooManyParts("too many tags")
        num_bytes = 0
        for position in range(begin, begin + num * size, size):
            tag, kind, count = entry.unpack_from(data, position)
            num_bytes += count * _SIZES.get(kind, 1)
            # Values that share their bytes: the decoder would copy each.
            if num_bytes > len(data):
                raise TooManyParts("too many bytes of tags")
            if tag not in _READ or kind not in _TYPES:
                continue
            code = f"{order}{min(count, _MOST_VALUES)}{_TYPES[kind]}"
            at = position + entry.size
            if count * struct.calcsize(f"={_TYPES[kind]}") > inline:
                (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, at)
            counts[tag], values[tag] = count, struct.unpack_from(code, data, at)
        end = begin + num * size
        following = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, end)[0] if end < len(data) else 0
    except struct.error:
        return None
    return _Directory(counts, values, following)
