"""The folder of ``cin predict --overlay``: one folder for each image, in the tree of the images."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from filelock import FileLock

from service.attention.overlay import AttentionMaps, MapKind, OverlayOptions, encode, render
from service.cli.archive import OVERLAYS_MARKER, ArchiveError
from service.cli.files import replace_file
from service.cli.paths import place_of
from service.cli.s3 import Location, S3Location
from service.cli.tables import Source

# Written last: where it is, the others are.
_LAST: MapKind = "lesion"


class OverlaysOfAnother(OSError):  # noqa: N818 - named for what they are
    """There are overlays in the place of an image's that were not made from it by this model."""

    def __init__(self, path: Path) -> None:
        what = "made from another image or model; remove it or name another folder for --overlay"
        super().__init__(errno.EEXIST, f"{path} was {what}", str(path))


class OverlayFolder:
    """Overlays of images as ``KIND.png``, each in a folder that has the image's name and place.

    An image's place is relative to the folder that this one is in; where it is not below that, its absolute path
    follows. So it depends on neither the other images of a command nor on how they are spelled, and an image's name
    is as short as its folder's. Every file records what it was made from.
    """

    def __init__(self, folder: Path) -> None:
        """Begin or continue ``folder``.

        Raises :class:`ArchiveError` for a folder that holds something else: later searches would leave that out.
        """
        if folder.exists() and not (folder / OVERLAYS_MARKER).exists():
            if not folder.is_dir():
                raise ArchiveError(f"{folder} is not a folder; name another for --overlay")
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                raise ArchiveError(f"{folder} holds something else than overlays; name an empty folder for --overlay")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OVERLAYS_MARKER).touch()
        self._folder = Path(os.path.realpath(folder))

    def has(self, picture: Location, source: Source) -> bool:
        """Whether all overlays of an image are there, made from ``source``."""
        path = self._folder_of(picture) / f"{_LAST}.png"
        return path.is_file() and _is_from(path, source)

    def write(self, picture: Location, maps: AttentionMaps, source: Source) -> None:
        """Draw an image's overlays and write them, after any other command that writes them.

        Raises :class:`OverlaysOfAnother` and then writes none, other ``OSError``.
        """
        folder = self._folder_of(picture)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            self._write(folder, maps, source)

    def _write(self, folder: Path, maps: AttentionMaps, source: Source) -> None:
        for path in (folder / f"{kind}.png" for kind in get_args(MapKind)):
            if path.is_file() and not _is_from(path, source):
                raise OverlaysOfAnother(path)
        others: list[MapKind] = [] if maps.spatial is None else ["spatial", "correlation"]
        for kind in (*others, _LAST):
            overlay = encode(render(maps, OverlayOptions(kind=kind)), _recorded(source))
            replace_file(folder / f"{kind}.png", overlay)

    def _folder_of(self, picture: Location) -> Path:
        if isinstance(picture, S3Location):  # a key may have dots in it that lead out of this folder
            raise ArchiveError(f"{picture}: overlays are drawn of files alone; leave --overlay out")
        place = place_of(picture)
        below = self._folder.parent if place.is_relative_to(self._folder.parent) else place.anchor
        return self._folder / place.relative_to(below)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    path = folder / ".lock"
    with FileLock(path):
        try:
            yield
        finally:
            path.unlink()  # while it is locked: a file that was removed counts as no lock


def _recorded(source: Source) -> str:
    return "image {} model {} {}".format(*source)


def _is_from(path: Path, source: Source) -> bool:
    with path.open("rb") as file:
        return _recorded(source).encode() in file.read(1024)  # the comment is before the pixels
