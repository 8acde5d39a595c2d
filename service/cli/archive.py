"""Which images a command works on: files, and folders of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from service.cli.lists import is_list, read_list
from service.cli.paths import RealPaths, identity, place_of
from service.cli.s3 import Location, S3Location
from service.cli.shards import Shard
from service.imaging.kinds import DICOM_START, READS_AVIF, READS_DICOM, is_dicom

_AVIF_SUFFIXES = frozenset({".avif"})
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
SUFFIXES = (
    frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp"})
    | (_AVIF_SUFFIXES if READS_AVIF else frozenset())
    | (_DICOM_SUFFIXES if READS_DICOM else frozenset())
)
# The table of contents of a folder of DICOM files has this name.
_DICOM_CONTENTS = "DICOMDIR"

# A folder with this file holds overlays, which are not to be taken for images.
OVERLAYS_MARKER = ".cin-overlays"

# Other formats of images, as they are counted when they are left out.
_OTHER_FORMATS = {
    suffix: kind
    for kind, suffixes in {
        "HEIC": ".heic .heif .hif",
        "DICOM": " ".join(_DICOM_SUFFIXES),
        "AVIF": " ".join(_AVIF_SUFFIXES),
        "GIF": ".gif",
        "AVIF animation": ".avifs",
        "JPEG XL": ".jxl",
        "JPEG 2000": ".jp2 .j2k .jpf .jpx",
        "JPEG-LS": ".jls",
        "camera raw": ".dng .arw .cr2 .cr3 .nef .nrw .orf .pef .raf .rw2 .srw",
        "PDF": ".pdf",
    }.items()
    for suffix in suffixes.split()
}

# Counted when they are left out.
UNREADABLE = "unreadable folders"

# Folders of systems and storage devices: deleted images, thumbnails, and macOS's additions to ZIP archives.
_SYSTEM_FOLDERS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recycle",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)


class ArchiveError(ValueError):
    """The images or the file of results cannot be used; the text says what to change."""


class Found(NamedTuple):
    """The images in their order, and how many files and folders were left out, by kind."""

    pictures: list[Path]
    left_out: Counter[str]


def find_pictures(paths: Iterable[Path]) -> Found:
    """All images at once, as :func:`list_pictures` lists them; of files alone.

    Raises :class:`ArchiveError` also for a folder that may not be read: its images would be missing silently.
    """
    found = Found([], Counter())
    for picture in list_pictures(paths, found.left_out, onerror=_refuse):
        if isinstance(picture, S3Location):
            raise ArchiveError(f"{picture} is no file; objects in S3 are for cin predict")
        found.pictures.append(picture)
    return found


def list_pictures(
    paths: Iterable[Location],
    left_out: Counter[str],
    *,
    own: Iterable[Path] = (),
    shard: Shard | None = None,
    onerror: Callable[[OSError], object] = lambda _: None,
) -> Iterator[Location]:
    """The files among ``paths`` and in the lists among them, and the images in the folders and below, by their suffix
    and in order; DICOM files also without suffix and with others, by their content.

    Memory holds the names of one folder, and digests of all images. An image with several names, as by links, is
    taken once, by the first of them; of the images, ``shard`` takes its own. Below these folders, hidden and system
    folders, symlinked folders and folders of overlays are not searched. ``own`` are files and folders of the command
    itself; whatever else is left out is counted in ``left_out``. ``onerror`` gets the error of each folder that may not
    be read. Raises :class:`ArchiveError` for a folder without images.
    """
    search, seen = _Search(frozenset(str(place_of(path)) for path in own), left_out, onerror), dict[bytes, int]()
    num_seen = 0
    for picture in search.all(paths):
        key, name = identity(picture.real_path), hash(str(picture.path))
        if seen.setdefault(key, name) != name:
            left_out["other names of the same images"] += 1
        if len(seen) == num_seen:
            continue
        num_seen += 1
        if shard is None or shard.has(picture.relative):
            yield picture.path


def require_pictures(paths: Iterable[Location], own: Iterable[Path] = ()) -> None:
    """Raises what :func:`list_pictures` would, after the first image of each folder."""
    search = _Search(frozenset(str(place_of(path)) for path in own), Counter(), lambda _: None)
    for path in _with_listed(paths):
        if _is_folder(path):
            next(search.below(path))


def list_kinds(left_out: Counter[str]) -> str:
    """What was left out, for people."""
    return ", ".join(f"{kind}: {num}" for kind, num in sorted(left_out.items()))


class _Picture(NamedTuple):
    path: Location
    relative: str  # to the folder that is searched; of others, the path
    real_path: str


@dataclass(frozen=True)
class _Search:
    """A search for images."""

    own: frozenset[str]
    left_out: Counter[str]
    onerror: Callable[[OSError], object]

    def all(self, paths: Iterable[Location]) -> Iterator[_Picture]:
        """The images among and below ``paths``."""
        real_paths = RealPaths()
        for path in _with_listed(paths):
            if _is_folder(path):
                yield from self.below(path)
            else:
                yield _Picture(path, str(path), real_paths.of(path))

    def below(self, root: Location) -> Iterator[_Picture]:
        """The images in a folder and below; raises :class:`ArchiveError` when there are none."""
        before, is_empty = self.left_out.copy(), True
        for picture in self._objects(root) if isinstance(root, S3Location) else self._files(root):
            is_empty = False
            yield picture
        if is_empty:
            here = self.left_out - before
            but = f"; left out: {list_kinds(here)}" if here else ""
            raise ArchiveError(f"{root} holds no images ({', '.join(sorted(SUFFIXES))}){but}")

    def _files(self, root: Path) -> Iterator[_Picture]:
        return self._walk(root, os.path.realpath(root).rstrip(os.sep), "")

    def _walk(self, folder: Path, real_path: str, relative: str) -> Iterator[_Picture]:
        try:
            entries = _read_folder(folder)
        except OSError as error:
            self.left_out[UNREADABLE] += 1
            self.onerror(error)
            return
        if OVERLAYS_MARKER in entries.names:
            if real_path not in self.own:
                self.left_out["folders of overlays"] += 1
            return
        for name in sorted(entries.names):
            path, place, is_link = folder / name, f"{real_path}{os.sep}{name}", name in entries.links
            if name in entries.folders:
                kind = _reason_to_skip(name, is_link=is_link)
                if kind is None:
                    yield from self._walk(path, place, f"{relative}{name}/")
            elif place in self.own:
                continue
            else:
                special = name in entries.special
                kind = _kind_unless_picture(name, special=special, has_dicom=partial(_is_dicom, path))
                if kind is None:
                    yield _Picture(path, relative + name, os.path.realpath(path) if is_link else place)
            if kind is not None:
                self.left_out[kind] += 1

    def _objects(self, root: S3Location) -> Iterator[_Picture]:
        for relative, place in root.below():
            *folders, name = relative.split("/")
            kinds = (_reason_to_skip(folder, is_link=False) for folder in folders)
            kind = "names with a zero byte" if "\0" in relative else next(filter(None, kinds), None)
            if kind is None and name:  # else the mark of a folder
                kind = _kind_unless_picture(name, special=False, has_dicom=lambda: False)  # a request for each would
                if kind is None:
                    yield _Picture(place, relative, str(place))
            if kind is not None:
                self.left_out[kind] += 1


class _Entries(NamedTuple):
    """The names in a folder."""

    names: list[str]
    folders: set[str]  # links to folders among them
    links: set[str]
    special: set[str]  # neither folders nor regular files: pipes, devices, broken links


def _read_folder(folder: Path) -> _Entries:
    """Raises ``OSError`` for a folder that may not be read."""
    found = _Entries([], set(), set(), set())
    with os.scandir(folder) as entries:
        for entry in entries:
            found.names.append(entry.name)
            if entry.is_file(follow_symlinks=False):  # asks nothing of the disk
                continue
            if entry.is_symlink():
                found.links.add(entry.name)
            with suppress(OSError):  # a loop of links
                if entry.is_dir():
                    found.folders.add(entry.name)
                    continue
                if entry.is_file():
                    continue
            found.special.add(entry.name)
    return found


def _is_folder(path: Location) -> bool:
    """Of an address by its name, because to ask about each of many takes long."""
    if isinstance(path, S3Location):
        return path.key.endswith("/") or Path(path.key).suffix.lower() not in SUFFIXES
    return path.is_dir()


def _with_listed(paths: Iterable[Location]) -> Iterator[Location]:
    for path in paths:
        if isinstance(path, S3Location) or not is_list(path) or _is_dicom(path):
            yield path
            continue
        is_empty = True
        try:
            for listed in read_list(path):
                is_empty = False
                yield listed
        except ValueError as error:
            raise ArchiveError(f"{path}: {error}") from error
        if is_empty:
            raise ArchiveError(f"{path} lists no images; write one path on a line")


def _reason_to_skip(name: str, *, is_link: bool) -> str | None:
    if name.startswith(".") or name.lower() in _SYSTEM_FOLDERS:
        return "hidden and system folders"
    return "symlinked folders" if is_link else None


def _kind_unless_picture(name: str, *, special: bool, has_dicom: Callable[[], bool]) -> str | None:
    if name.startswith("."):  # macOS adds one to each image on foreign disks: ``._name.jpg``
        return "hidden files"
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of very many
    if suffix in SUFFIXES:
        return "pipes, devices and broken links" if special else None
    if suffix == ".":
        suffix = ""
    # The name of a DICOM file may be a number with points in it.
    if suffix not in _OTHER_FORMATS and name != _DICOM_CONTENTS and READS_DICOM and not special and has_dicom():
        return None
    return _OTHER_FORMATS.get(suffix, "other files" if suffix else "files without suffix")


def _is_dicom(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:  # never a pipe, which may never end
        return is_dicom(file.read(DICOM_START))
    return False


def _refuse(error: OSError) -> None:
    raise ArchiveError(f"cannot read the folder {error.filename}: {error.strerror}") from error
