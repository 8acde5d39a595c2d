"""The file of ``cin predict --out``: JSON lines or CSV by its name, and resumable.

Every outcome is appended as it comes, as one line: :mod:`service.cli.names` keeps line breaks out of it. The next
command cuts off a half-written line, and repeats images that failed. It reads the file once, row by row, and keeps 48
bytes of each; so the file needs no index beside it, which could contradict it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from service.bundle import Manifest
from service.cli.archive import ArchiveError
from service.cli.files import replacing, scratch_of
from service.cli.names import printable, to_path, to_text
from service.cli.paths import RealPaths, identity, join
from service.cli.rows import to_fields
from service.cli.s3 import Location, S3Location
from service.cli.tables import Csv, JsonLines, JudgedBy, NotAnswers, Row, Source, name_in
from service.prediction.schemas import Prediction

# What becomes of a row when a file is continued.
_KEEP, _REWRITE, _LEAVE_OUT = range(3)


def files_of(out: Path) -> list[Path]:
    """The files that a command makes or writes for the results file ``out``."""
    target = Path(os.path.realpath(out))  # a link's target is written, not the link
    return [out, target, scratch_of(target), lock_of(target)]


class ResultsFile:
    """Answers in a file, one image a line, all judged alike; a context manager.

    Images have the name that they were given when that is absolute. Other names are relative to the file's folder, or
    absolute where an image is not below it: they mean the same in whichever folder a command is run.
    """

    def __init__(self, path: Path, manifest: Manifest, judged_by: JudgedBy, *, raw: bool = False) -> None:
        """Continue the file at ``path``, or begin it; ``raw``: with figures also where nothing is advised.

        Raises :class:`ArchiveError` for a file of another kind, a read-only one, and one of answers that were judged
        otherwise; and for one that another command writes to.
        """
        suffix = path.suffix.lower()
        if suffix not in (".jsonl", ".csv"):
            raise ArchiveError(f"{path}: results are written as .jsonl or .csv, or .parquet")
        if path.is_dir():
            raise ArchiveError(f"{path} is a folder; name a file in it")
        self._path = Path(os.path.realpath(path))
        if not self._path.parent.is_dir():
            raise ArchiveError(f"{path}: the folder {self._path.parent} does not exist")
        if os.path.lexists(self._path) and not self._path.is_file():
            raise ArchiveError(f"{path} is a pipe, a device or a loop of links; name a file")
        # Replacing a file needs no permission to write to it, and root needs none at all.
        if self._path.exists() and not (self._path.stat().st_mode & 0o222 and os.access(self._path, os.W_OK)):
            raise ArchiveError(f"{path} is read-only; make it writable or choose another --out")
        self._table = Csv([c.name for c in manifest.classes]) if suffix == ".csv" else JsonLines()
        self._judged_by, self._real_paths = judged_by, RealPaths()
        self._lock = FileLock(lock_of(self._path))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ArchiveError(f"another command writes to {path}; choose another --out") from None
        except OSError as error:
            raise ArchiveError(
                f"{path} cannot be written: {error.strerror} in its folder; choose another --out"
            ) from error
        try:
            self._done = self._begin(raw=raw)
            self._file = self._path.open("ab", buffering=0)
        except BaseException:
            self._unlock()
            raise
        self._written = _identity(os.fstat(self._file.fileno()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        # Removed while it is locked; filelock does not take one that was removed for a lock.
        with suppress(OSError):
            lock_of(self._path).unlink()
        self._lock.release()

    def has(self, picture: Location) -> bool:
        """Whether an image, by any of its names, had an answer when the file was opened."""
        return identity(self._real_paths.of(picture)) in self._done

    def source_of(self, picture: Location) -> Source | None:
        """What the answer that an image had then was made from."""
        image_sha256 = self._done.get(identity(self._real_paths.of(picture)))
        if image_sha256 is None:
            return None
        return Source(image_sha256.hex(), self._judged_by.model_sha256, self._judged_by.variant)

    def add(self, picture: Location, prediction: Prediction | None, error: str | None) -> None:
        """Append the outcome of one image.

        Raises :class:`ArchiveError` when the file was removed, replaced or changed by another program, and when it
        cannot be written, as on a full disk.
        """
        row: dict[str, Any] = {"picture": to_text(self._name_of(picture)), "error": error and printable(error)}
        if prediction is not None:
            row = {"picture": row["picture"], **to_fields(prediction)}
        try:
            now = _identity(self._path.stat())
        except FileNotFoundError:
            now = None
        if now != self._written:
            raise self._changed()
        left = memoryview(self._table.line(row))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as failure:
            raise self._unwritable(failure) from failure
        self._written = _identity(os.fstat(self._file.fileno()))

    def _begin(self, *, raw: bool) -> dict[bytes, bytes]:
        """Read the answers, and rewrite a file that holds more than these; their images' digests by the identity of
        their images."""
        done: dict[bytes, bytes] = {}
        actions, num_bytes = bytearray(), len(self._table.head)
        folder = str(self._path.parent)
        try:
            for record in self._records():
                num_bytes += len(record)
                row = self._table.parse(record)
                if row.get("error"):
                    actions.append(_LEAVE_OUT)
                    continue
                self._check(row, raw=raw)
                name = name_in(row)
                actions.append(_KEEP if name == row["picture"] and not record.endswith(b"\r\n") else _REWRITE)
                path = join(folder, to_path(name))
                done[identity(self._real_paths.of(path))] = self._table.image_sha256(row)
        except NotAnswers as why:
            raise ArchiveError(f"{self._path} is not of this model's answers ({why}); choose another --out") from why
        # Errors and half-written lines are left out: those images are repeated.
        if any(actions) or not self._path.exists() or self._path.stat().st_size != num_bytes:
            try:
                with replacing(self._path, durable=True) as file:
                    file.write(self._table.head)
                    file.writelines(self._kept(actions))
            except OSError as failure:
                raise self._unwritable(failure) from failure
            except ValueError as error:  # it has other rows than just now
                raise self._changed() from error
        return done

    def _check(self, row: Row, *, raw: bool) -> None:
        """Raises :class:`ArchiveError` for an answer that was judged otherwise."""
        judged_by = self._table.judged_by(row)
        if judged_by != self._judged_by:
            differences = judged_by.differences(self._judged_by)
            raise ArchiveError(f"{self._path} holds answers of {differences}; choose another --out")
        if self._table.is_raw(row) not in (None, raw):
            said = "without" if raw else "with"
            raise ArchiveError(f"{self._path} was begun {said} --raw; choose another --out")

    def _records(self) -> Iterator[bytes]:
        if self._path.is_file():
            with self._path.open("rb") as file:
                yield from self._table.records(file)

    def _kept(self, actions: Iterable[int]) -> Iterator[bytes]:
        for record, action in zip(self._records(), actions, strict=True):
            if action == _KEEP:
                yield record
            elif action == _REWRITE:
                row = self._table.parse(record)
                yield self._table.line({**row, "picture": name_in(row)})

    def _name_of(self, picture: Location) -> str:
        if isinstance(picture, S3Location) or picture.is_absolute():
            return str(picture)
        path, real = os.path.abspath(picture), os.path.realpath(picture)  # noqa: PTH100 - keeps names of links
        if os.path.realpath(path) != real:  # dots after a link
            path = real
        folder = f"{self._path.parent}{os.sep}"
        return path.removeprefix(folder)

    def _changed(self) -> ArchiveError:
        return ArchiveError(f"{self._path} was removed or changed by another program; repeat the command")

    def _unwritable(self, failure: OSError) -> ArchiveError:
        return ArchiveError(f"{self._path}: {failure.strerror}; repeat the command to resume")


def lock_of(path: Path) -> Path:
    """The lock of who writes to a results file."""
    return path.with_name(f".{path.name}.lock")


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    """Which file it is, and its length in bytes."""
    return stat.st_dev, stat.st_ino, stat.st_size
