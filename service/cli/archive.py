"""Which pictures a command works on: files, and folders of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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

# A folder with this file holds overlays, which are not to be taken for pictures.
OVERLAYS_MARKER = ".cin-overlays"

# Other formats of pictures, as they are counted when they are left out.
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

# Folders of systems and storage devices: deleted pictures, thumbnails, and macOS's additions to ZIP archives.
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
    """The pictures or the file of results cannot be used; the text says what to change."""


class Found(NamedTuple):
    """The pictures in their order, and how many files and folders were left out, by kind."""

    pictures: list[Path]
    left_out: Counter[str]


def find_pictures(paths: Iterable[Path], own: Iterable[Path] = ()) -> Found:
    """The files among ``paths``, and the pictures in the folders among them and below, by their suffix and in order;
    DICOM files also without suffix and with others, by their content.

    A picture with several names, as by links, is taken once, by the first of them. Below these folders, hidden and
    system folders, symlinked folders and folders of overlays are not searched. ``own`` are files and folders of the
    command itself, which are not counted. Raises :class:`ArchiveError` for a folder without pictures, and for one that
    may not be read: its pictures would be missing silently.
    """
    own_places = frozenset(map(place_of, own))
    pictures: dict[str, Path] = {}
    left_out: Counter[str] = Counter()
    for path in paths:
        inside = _search(path, own_places) if path.is_dir() else Found([path], Counter())
        left_out += inside.left_out
        if not inside.pictures:
            but = f"; left out: {list_kinds(inside.left_out)}" if inside.left_out else ""
            raise ArchiveError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))}){but}")
        for picture in inside.pictures:
            if pictures.setdefault(os.path.realpath(picture), picture) != picture:
                left_out["other names of the same pictures"] += 1
    return Found(list(pictures.values()), left_out)


def place_of(path: Path) -> Path:
    """Where a file or a link is, however its folder is spelled."""
    return Path(os.path.realpath(path.parent), path.name)


def list_kinds(left_out: Counter[str]) -> str:
    """What was left out, for people."""
    return ", ".join(f"{kind}: {num}" for kind, num in sorted(left_out.items()))


def _search(root: Path, own: frozenset[Path]) -> Found:
    pictures: list[Path] = []
    left_out: Counter[str] = Counter()
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        place = Path(os.path.realpath(folder))
        if OVERLAYS_MARKER in files:
            left_out["folders of overlays"] += place not in own
            folders.clear()
            continue
        kinds = {name: _reason_to_skip(Path(folder, name)) for name in folders}
        folders[:] = [name for name, kind in kinds.items() if kind is None]
        for name in files:
            if place / name in own:
                continue
            path = Path(folder, name)
            kinds[name] = _kind_unless_picture(path)
            if kinds[name] is None:
                pictures.append(path)
        left_out.update(kind for kind in kinds.values() if kind is not None)
    return Found(sorted(pictures), left_out)


def _reason_to_skip(folder: Path) -> str | None:
    if folder.name.startswith(".") or folder.name.lower() in _SYSTEM_FOLDERS:
        return "hidden and system folders"
    return "symlinked folders" if folder.is_symlink() else None


def _kind_unless_picture(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if path.name.startswith("."):  # macOS adds one to each picture on foreign disks: ``._name.jpg``
        return "hidden files"
    if suffix in SUFFIXES:
        return None if path.is_file() else "pipes, devices and broken links"
    # The name of a DICOM file may be a number with points in it.
    if suffix not in _OTHER_FORMATS and path.name != _DICOM_CONTENTS and READS_DICOM and _is_dicom(path):
        return None
    return _OTHER_FORMATS.get(suffix, "other files" if suffix else "files without suffix")


def _is_dicom(path: Path) -> bool:
    with suppress(OSError):
        if path.is_file():  # opening a pipe may never end
            with path.open("rb") as file:
                return is_dicom(file.read(DICOM_START))
    return False


def _unreadable(error: OSError) -> None:
    raise ArchiveError(f"cannot read the folder {error.filename}: {error.strerror}") from error
