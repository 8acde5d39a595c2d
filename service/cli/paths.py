"""Which file a path leads to, for hundreds of thousands of paths."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

# How the address of an object in S3 begins; a path never does, of which two slashes are one.
SCHEME = "s3://"


def is_remote(path: str) -> bool:
    """Whether it is an object's address."""
    return path.startswith(SCHEME)


def join(folder: str | os.PathLike[str], name: str) -> str:
    """A name relative to a folder; an address is relative to none."""
    return name if is_remote(name) else os.path.join(folder, name)  # noqa: PTH118 - of very many


def place_of(path: Path) -> Path:
    """Where a file or a link is, however its folder is spelled."""
    return Path(os.path.realpath(path.parent), path.name)


def identity(real_path: str) -> bytes:
    """15 bytes in the place of a real path, which may have hundreds: memory holds them for every image, in 48 bytes."""
    return hashlib.blake2b(os.fsencode(real_path), digest_size=15).digest()


class RealPaths:
    """Real paths of many files. Each folder is read once, where ``os.path.realpath`` asks the disk about every part of
    every path; of the files, only links are looked at."""

    def __init__(self) -> None:
        self._look_at = lru_cache(maxsize=2**15)(_look_at)

    def of(self, path: str | os.PathLike[str]) -> str:
        """As ``os.path.realpath``, which it is called with when the file may be a link; an address as it is."""
        path = os.fspath(path)
        if is_remote(path):
            return path
        folder, slash, name = path.rpartition(os.sep)
        if folder.endswith(os.sep) or name in ("", os.curdir, os.pardir):
            return os.path.realpath(path)
        folder = folder or slash or os.curdir
        real, links = self._look_at(folder)
        return os.path.realpath(path) if links is None or name in links else real + name


def _look_at(folder: str) -> tuple[str, frozenset[str] | None]:
    """The real path of a folder, with a slash at its end, and its links; None where it cannot be read."""
    real = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - for the slash
    try:
        with os.scandir(real) as entries:
            return real, frozenset(entry.name for entry in entries if entry.is_symlink())
    except FileNotFoundError:
        return real, frozenset()
    except OSError:
        return real, None
