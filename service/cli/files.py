"""Regular files: read up to a limit, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from service.imaging import PictureTooLarge


class NotARegularFile(OSError):  # noqa: N818 - named for what it is
    """A pipe, socket or device: reading it may never end, and replacing it destroys it."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "a pipe, a socket or a device, not a regular file", str(path))


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file.

    Raises :class:`PictureTooLarge` before a larger file is read, :class:`NotARegularFile` at once, other ``OSError``.
    """
    # Opening a pipe does not wait for a writer then.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotARegularFile(path)
        if status.st_size > max_bytes:
            raise PictureTooLarge(
                f"the file has {status.st_size:,} bytes, the limit is {max_bytes:,} (CIN_MAX_UPLOAD_BYTES)"
            )
        return file.read(status.st_size)


def scratch_of(path: Path) -> Path:
    """What :func:`replace_file` writes first."""
    return path.with_name(f".{path.name}.part")


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write ``data`` to ``path``, as :func:`replacing` does."""
    with replacing(path, durable=durable) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A scratch file that takes the place of the file ``path`` when the block ends; with ``durable``, once it is on the
    disk.

    Mode, owner, group and extended attributes of a file that is replaced are kept. The caller excludes other writers
    of this path. Raises :class:`NotARegularFile` when something else has that name, a link included, and other
    ``OSError``; and then leaves no scratch file.
    """
    replaced = path.lstat() if os.path.lexists(path) else None
    if replaced is not None and not stat.S_ISREG(replaced.st_mode):
        raise NotARegularFile(path)
    scratch = scratch_of(path)
    scratch.unlink(missing_ok=True)  # left by a command that was killed
    mode = 0o666 if replaced is None else 0o600  # no wider than the replaced file's, at any time
    try:
        with open(scratch, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if replaced is not None:
            for uid, gid in ((-1, replaced.st_gid), (replaced.st_uid, -1)):
                with suppress(PermissionError):
                    os.chown(scratch, uid, gid)
            shutil.copystat(path, scratch)
            os.utime(scratch)  # of the times, none is kept
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
