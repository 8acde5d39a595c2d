"""Files that survive a kill: atomic replacement, checked JSON, and a lock for a folder."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


class DamagedFileError(ValueError):
    """A file is damaged; the text names it and says how to repair it."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """Work was stopped by a signal or a deadline. Nothing is lost: the same command resumes it."""


@contextmanager
def folder_lock(folder: Path, *, waiting: Callable[[], object], deadline: float | None = None) -> Iterator[None]:
    """Hold ``folder`` for this process, created if it is absent.

    Calls ``waiting`` once when another process holds it, then blocks until that one releases it. Raises
    :class:`Interrupted` when ``deadline`` (``time.monotonic``) passes first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        try:
            lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic()))
        except Timeout as error:
            raise Interrupted(
                f"another command still works in {folder}; run the same command again to resume"
            ) from error
    try:
        yield
    finally:
        lock.release()


def read_json(path: Path, *, mend: str) -> dict[str, Any]:
    """The JSON object in ``path``. Raises :class:`DamagedFileError`, whose text ends with the repair ``mend``."""
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise DamagedFileError(f"{path} is damaged ({error}); {mend}") from error
    return fields


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a scratch file next to ``path``, then rename it; a failure leaves ``path`` as it was."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    replace_atomically(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, indented."""
    write_text(path, json.dumps(fields, indent=2) + "\n")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file atomically."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
