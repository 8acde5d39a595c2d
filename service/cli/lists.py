"""Files that list paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from service.cli.s3 import Location, locate

_SUFFIX = ".txt"
_CHUNK = 2**16


def is_list(path: Path) -> bool:
    """Whether a path is a list's, by its suffix; of a regular file."""
    return path.suffix.lower() == _SUFFIX and path.is_file()


def read_list(path: Path) -> Iterator[Location]:
    """Paths and addresses in a file: one a line, or each before a NUL, as ``find -print0`` writes names with breaks.

    Memory holds 64 KiB of them. Raises ``OSError``, and ValueError for an address without bucket.
    """
    rest = b""
    with path.open("rb") as file:
        chunk = file.read(_CHUNK)
        end = b"\0" if b"\0" in chunk else b"\n"
        while chunk:
            *names, rest = (rest + chunk).split(end)
            yield from (_path(name, end) for name in names if name.strip(b"\r"))
            chunk = file.read(_CHUNK)
    if rest:
        yield _path(rest, end)


def _path(name: bytes, end: bytes) -> Location:
    return locate(os.fsdecode(name.removesuffix(b"\r") if end == b"\n" else name))  # Windows ends lines with both
