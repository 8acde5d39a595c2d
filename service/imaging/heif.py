"""The items of a HEIF file, read from its boxes (ISO/IEC 14496-12 and 23008-12) without any of their data.

Items are images, parts of images and metadata. A file of a few bytes may state millions of anything, and refer to
itself, so everything is counted and nothing is followed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from service.imaging.picture import TooManyParts

# A photo in tiles has some hundred of each.
_MOST_BOXES = 5_000  # in another one
_MOST_ITEMS = 2_000
_MOST_EXTENTS = 32
_MOST_ASSOCIATIONS = 20_000

_READ = (b"pitm", b"iloc", b"iinf", b"iprp", b"iref", b"idat")


class Extent(NamedTuple):
    """Where data are in the file."""

    start: int
    length: int


class Property(NamedTuple):
    """What is stated of an item; one that is essential must be understood."""

    name: bytes
    content: memoryview
    is_essential: bool


class Reference(NamedTuple):
    """An item refers to others; ``kind`` says what they are for it."""

    kind: bytes
    source: int
    targets: tuple[int, ...]


class Items(NamedTuple):
    """What a file states of its items, by their numbers."""

    primary: int
    kinds: dict[int, bytes]
    extents: dict[int, tuple[Extent, ...]]
    properties: dict[int, tuple[Property, ...]]
    references: tuple[Reference, ...]

    def property(self, item: int, name: bytes) -> memoryview | None:
        """The first property of this name, if there is one."""
        return next((each.content for each in self.properties.get(item, ()) if each.name == name), None)


def read_items(data: bytes) -> Items:
    """Raises ``ValueError`` for a file that is cut off or contradicts itself, and :class:`TooManyParts`."""
    whole = memoryview(data)
    meta = next((_full(content)[2] for name, content in boxes(whole) if name == b"meta"), None)
    if meta is None:
        raise ValueError("no items")
    parts: dict[bytes, memoryview] = {}
    for name, content in boxes(meta):
        if name in _READ and parts.setdefault(name, content) is not content:
            raise ValueError("a box comes twice")
    version, _, primary = _full(parts[b"pitm"])
    within = parts.get(b"idat", whole[:0])
    at = data.index(within) if len(within) else 0  # or where the same bytes are, which do as well
    places = _extents(parts[b"iloc"], len(data), Extent(at, len(within)))
    return Items(
        _Fields(primary).number(4 if version else 2),
        _kinds(parts[b"iinf"]),
        places,
        _properties(parts[b"iprp"]),
        tuple(_references(parts[b"iref"])) if b"iref" in parts else (),
    )


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Names and contents of the boxes in ``data``. Raises ``ValueError`` for one that is cut off."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at == len(data):
            return
        size, name, head = int.from_bytes(data[at : at + 4]), bytes(data[at + 4 : at + 8]), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:  # to the end
            size = len(data) - at
        if size < head or at + size > len(data):
            raise ValueError("a box is cut off")
        yield name, data[at + head : at + size]
        at += size
    raise TooManyParts("too many boxes")


def _full(content: memoryview) -> tuple[int, int, memoryview]:
    """The version, the flags, and what follows."""
    if len(content) < 4:
        raise ValueError("a box is cut off")
    return content[0], int.from_bytes(content[1:4]), content[4:]


class _Fields:
    """Reads numbers one after the other. Raises ``ValueError`` at the end."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def number(self, num_bytes: int) -> int:
        return int.from_bytes(self.take(num_bytes))

    def take(self, num_bytes: int) -> memoryview:
        self._at += num_bytes
        if self._at > len(self._data):
            raise ValueError("a box is cut off")
        return self._data[self._at - num_bytes : self._at]


def _counted(number: int, most: int = _MOST_ITEMS, what: str = "items") -> range:
    if number > most:
        raise TooManyParts(f"too many {what}")
    return range(number)


def _extents(content: memoryview, num_bytes: int, within: Extent) -> dict[int, tuple[Extent, ...]]:
    """By items; of those whose data are in this file, or ``within`` the box of metadata."""
    version, _, body = _full(content)
    if version > 2:
        raise ValueError("an unknown version")
    fields = _Fields(body)
    sizes = fields.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    places: dict[int, tuple[Extent, ...]] = {}
    for _ in _counted(fields.number(4 if version == 2 else 2)):
        item = fields.number(4 if version == 2 else 2)
        method = fields.number(2) & 15 if version else 0
        is_elsewhere = bool(fields.number(2)) or method > 1
        start, end = (within.start, within.start + within.length) if method == 1 else (0, num_bytes)
        base, extents = fields.number(base_size), []
        for _ in _counted(fields.number(2), _MOST_EXTENTS, "extents"):
            fields.number(index_size)
            extent = Extent(start + base + fields.number(offset_size), fields.number(length_size))
            if not is_elsewhere and (extent.length == 0 or extent.start + extent.length > end):
                raise ValueError("data beyond the file")
            extents.append(extent)
        if not is_elsewhere and places.setdefault(item, tuple(extents)) != tuple(extents):
            raise ValueError("an item is at two places")
    return places


def _kinds(content: memoryview) -> dict[int, bytes]:
    version, _, body = _full(content)
    kinds: dict[int, bytes] = {}
    for number, (name, info) in enumerate(boxes(body[4 if version else 2 :])):
        if number == _MOST_ITEMS:
            raise TooManyParts("too many items")
        version, _, rest = _full(info)
        if name == b"infe" and version >= 2:
            fields = _Fields(rest)
            item, is_protected = fields.number(4 if version == 3 else 2), fields.number(2)
            kind = b"encrypted" if is_protected else bytes(fields.take(4))
            if kinds.setdefault(item, kind) != kind:
                raise ValueError("an item is of two kinds")
    return kinds


def _properties(content: memoryview) -> dict[int, tuple[Property, ...]]:
    known: list[tuple[bytes, memoryview]] = []
    stated: dict[int, tuple[Property, ...]] = {}
    left = _MOST_ASSOCIATIONS
    for name, part in boxes(content):
        if name == b"ipco" and not known:
            known = list(boxes(part))
        elif name == b"ipma":
            version, flags, body = _full(part)
            fields, width = _Fields(body), 2 if flags & 1 else 1
            for _ in _counted(fields.number(4)):
                item, numbers = fields.number(4 if version else 2), _counted(fields.number(1), left, "properties")
                left -= 1 + len(numbers)
                own = tuple(_association(known, fields.number(width), 1 << 8 * width - 1) for _ in numbers)
                if stated.setdefault(item, own) is not own:
                    raise ValueError("the properties of an item are stated twice")
    return stated


def _association(known: list[tuple[bytes, memoryview]], number: int, essential: int) -> Property:
    """One of the properties, which are counted from 1; the bit ``essential`` says whether it is."""
    index = number & ~essential
    name, content = known[index - 1] if index else (b"", memoryview(b""))
    return Property(name, content, is_essential=bool(number & essential))


def _references(content: memoryview) -> Iterator[Reference]:
    version, _, body = _full(content)
    width = 4 if version else 2
    for number, (kind, part) in enumerate(boxes(body)):
        if number == _MOST_ITEMS:
            raise TooManyParts("too many references")
        fields = _Fields(part)
        source = fields.number(width)
        yield Reference(kind, source, tuple(fields.number(width) for _ in _counted(fields.number(2))))
