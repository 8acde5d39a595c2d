"""Which pictures a command works on: files, and folders of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"})


class ArchiveError(ValueError):
    """The pictures or the file of results cannot be used; the text says what to change."""


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """The files among ``paths``, and the pictures in the folders among them and below, by their suffix and in order.

    Hidden files in folders are left out. Raises :class:`ArchiveError` for a folder without pictures, and for one that
    may not be read: its pictures would be missing silently.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        files = (Path(folder, name) for folder, _, names in os.walk(path, onerror=_unreadable) for name in names)
        # macOS adds a hidden file to each picture on foreign disks: ``._name.jpg``.
        shown = (p for p in files if not p.name.startswith("."))
        inside = sorted(p for p in shown if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise ArchiveError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        found += inside
    return list(dict.fromkeys(found))


def _unreadable(error: OSError) -> None:
    raise ArchiveError(f"cannot read the folder {error.filename}: {error.strerror}") from error
