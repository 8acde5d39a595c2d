"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write ``data`` to ``path``; with ``durable`` it is on the disk before the file of that name is replaced.

    Mode, owner, group and extended attributes of a file that is replaced are kept. The caller excludes other writers
    of this path. Raises ``OSError``, and then leaves no scratch file.
    """
    scratch = path.with_name(f".{path.name}.part")
    scratch.unlink(missing_ok=True)  # left by a command that was killed
    replaced = path.stat() if path.exists() else None
    mode = 0o666 if replaced is None else 0o600  # no wider than the replaced file's, at any time
    try:
        with open(scratch, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
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
