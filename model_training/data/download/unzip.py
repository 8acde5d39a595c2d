"""Unpacks an untrusted archive of images, masks or tables.

All entries are checked before the first byte is written. Only the wanted kinds are unpacked, without their folders, and
the target folder appears complete or not at all.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

Progress = Callable[[int, int], None]

# Images, masks and tables. The superpixels in the archives of 2017, and desktop clutter, are left out.
WANTED = re.compile(r"ISIC_\d+\.jpe?g|ISIC_\d+(_segmentation)?\.png|\w[\w.-]*\.csv", re.IGNORECASE)

# The largest official archive holds about 4,000 files and 6 GB; images and masks are compressed already.
MAX_ENTRIES = 100_000
MAX_BYTES = 64 * 2**30
MAX_RATIO = 100
# Below this size a high ratio is not a zip bomb: an empty mask compresses very well.
RATIO_FREE_BYTES = 2**20

CHUNK = 2**20


class DownloadError(ValueError):
    """An official file cannot be obtained or is not the expected one; the text says what to do."""


class ArchiveError(DownloadError):
    """The archive is damaged or differs from any official one; nothing was unpacked."""


def unpack(archive: Path, folder: Path, *, progress: Progress = lambda done, total: None) -> None:
    """Unpack the wanted files of the zip file ``archive`` into the new ``folder``, without its inner folders.

    ``progress`` gets the bytes done and the total. Raises :class:`ArchiveError` when the archive is damaged, encrypted,
    too large or ambiguous, or has an entry that is a link or points outside, and when the disk is too small.
    """
    # A fixed name per folder, so that the next run removes what a killed run left.
    scratch = folder.with_name(f".unpacking-{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = wanted_entries(opened, archive)
            total = sum(entry.file_size for entry in entries.values())
            check_space(folder.parent, total, f"unpacking {archive.name}")
            scratch.mkdir()
            done = 0
            for name, entry in entries.items():
                with opened.open(entry) as source, (scratch / name).open("wb") as out:
                    while chunk := source.read(CHUNK):
                        out.write(chunk)
                        done += len(chunk)
                        progress(done, total)
        scratch.rename(folder)
    # Damage raises different errors; the checksum of every entry is compared while it is read.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"{archive} cannot be unpacked ({error}); delete it and run the same command again, or unpack it "
            f"with another program into {folder}"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def wanted_entries(opened: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The wanted entries by their bare names. Raises :class:`ArchiveError` for a suspicious archive."""
    infos = opened.infolist()
    if len(infos) > MAX_ENTRIES:
        raise ArchiveError(f"{archive} has {len(infos):,} entries, more than the {MAX_ENTRIES:,} any official one has")
    entries: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for info in infos:
        _check_entry(info, archive)
        name = _parts(info)[-1] if _parts(info) else ""
        if info.is_dir() or not WANTED.fullmatch(name):
            continue
        # Compared without case: on some file systems one would overwrite the other.
        if name.lower() in seen:
            raise ArchiveError(f"{archive} has two files named {name}; download it again")
        seen.add(name.lower())
        entries[name] = info
    if not entries:
        raise ArchiveError(f"{archive} has no image, mask or table in it; download it again")
    total = sum(entry.file_size for entry in entries.values())
    allowed = min(MAX_BYTES, max(RATIO_FREE_BYTES, MAX_RATIO * archive.stat().st_size))
    if total > allowed:
        raise ArchiveError(
            f"{archive} would grow to {readable_size(total)}, more than the {readable_size(allowed)} allowed for an "
            f"archive of {readable_size(archive.stat().st_size)}; it is not the official file"
        )
    return entries


def _parts(info: zipfile.ZipInfo) -> list[str]:
    return [part for part in info.orig_filename.replace("\\", "/").split("/") if part not in ("", ".")]


def _check_entry(info: zipfile.ZipInfo, archive: Path) -> None:
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in _parts(info) or "\0" in name:
        problem = "points outside the folder"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or a device"
    elif info.flag_bits & 0x1:
        problem = "is encrypted"
    else:
        return
    raise ArchiveError(f"{archive}: the entry {name!r} {problem}; no official archive has one, download it again")


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise :class:`DownloadError` when ``folder``'s disk has fewer than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{what} needs {readable_size(needed)}, {folder} has {readable_size(free)} left; "
            "free some space or choose another --data folder, then run the same command again"
        )


def readable_size(num_bytes: int) -> str:
    """A number of bytes with its unit: ``5.8 GB``."""
    size = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
