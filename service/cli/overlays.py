"""The folder of ``cin predict --overlay``: one folder for each picture, in the tree of the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from service.attention.overlay import AttentionMaps, MapKind, OverlayOptions, encode, render
from service.cli.archive import OVERLAYS_MARKER, ArchiveError
from service.cli.files import replace_file

# Written last: where it is, the others are.
_LAST: MapKind = "lesion"


class OverlayFolder:
    """Overlays of pictures as ``KIND.png``, each in a folder that has the picture's name and place.

    No two pictures share a folder, and a picture's name is as short as its folder's.
    """

    def __init__(self, folder: Path, searched: Iterable[Path]) -> None:
        """Begin or continue ``folder``. ``searched`` are the files and folders that the pictures were found in.

        Raises :class:`ArchiveError` for a folder that holds something else: later searches would leave that out.
        """
        if folder.exists() and not (folder / OVERLAYS_MARKER).exists():
            if not folder.is_dir():
                raise ArchiveError(f"{folder} is not a folder; name another for --overlay")
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                raise ArchiveError(f"{folder} holds something else than overlays; name an empty folder for --overlay")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OVERLAYS_MARKER).touch()
        self._folder = folder
        tops = (path if path.is_dir() else path.parent for path in searched)
        self._top = os.path.commonpath(map(_absolute, tops))

    def has(self, picture: Path) -> bool:
        """Whether all overlays of a picture are there."""
        return (self._folder_of(picture) / f"{_LAST}.png").is_file()

    def write(self, picture: Path, maps: AttentionMaps) -> None:
        """Draw a picture's overlays and write them. Raises ``OSError``."""
        folder = self._folder_of(picture)
        folder.mkdir(parents=True, exist_ok=True)
        others: list[MapKind] = [] if maps.spatial is None else ["spatial", "correlation"]
        for kind in (*others, _LAST):
            replace_file(folder / f"{kind}.png", encode(render(maps, OverlayOptions(kind=kind))))

    def _folder_of(self, picture: Path) -> Path:
        return self._folder / os.path.relpath(_absolute(picture), self._top)


def _absolute(path: Path) -> str:
    """As named: a link to a picture has overlays of its own."""
    return os.path.abspath(path)  # noqa: PTH100 - keeps links and drops dots
