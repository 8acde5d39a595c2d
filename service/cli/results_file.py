"""The file of ``cin predict --out``: JSON lines or CSV by its name, and resumable.

Every outcome is appended as it comes, as one line: :mod:`service.cli.names` keeps line breaks out of it. The next
command cuts off a half-written line, and repeats pictures that failed.
"""

from __future__ import annotations

import csv
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, get_args

from filelock import FileLock, Timeout

from service.bundle import Manifest
from service.cli.archive import ArchiveError
from service.cli.files import replace_file, scratch_of
from service.cli.names import as_written_now, printable, to_path, to_text
from service.cli.rows import columns, csv_line, to_cells, to_fields
from service.prediction.decision import Status
from service.prediction.schemas import Prediction

# Names in files of earlier versions need not be UTF-8.
_ENCODING = ("utf-8", "surrogateescape")

# How a JSON line begins.
_LINE = '{"picture": '


class JudgedBy(NamedTuple):
    """What makes answers comparable: one file holds only answers that agree in all of it."""

    model_sha256: str
    variant: str
    operating_point: str
    abstains: str
    prevalence: str

    def differences(self, other: JudgedBy) -> str:
        """What differs, with the settings that change it."""
        names = (
            *("model (CIN_BUNDLE)", "variant (CIN_VARIANT)", "operating point (CIN_OPERATING_POINT)", "CIN_ABSTAIN"),
            "prevalence (--prevalence)",
        )
        pairs = zip(names, self, other, strict=True)
        return ", ".join(f"{name} {ours:.16}, not {theirs:.16}" for name, ours, theirs in pairs if ours != theirs)


def prevalence_text(prevalence: float | None) -> str:
    """A prevalence as it stands in a table."""
    return "" if prevalence is None else str(prevalence)


def files_of(out: Path) -> list[Path]:
    """The files that a command makes or writes for the results file ``out``."""
    target = Path(os.path.realpath(out))  # a link's target is written, not the link
    return [out, target, scratch_of(target), _lock_of(target)]


class Source(NamedTuple):
    """What an answer and its overlays were made from."""

    image_sha256: str
    model_sha256: str
    variant: str

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """The source of a prediction."""
        return cls(prediction.image.sha256, prediction.model.sha256, prediction.model.variant)


class ResultsFile:
    """Answers in a file, one picture a line, all judged alike; a context manager.

    Pictures have the name that they were given when that is absolute. Other names are relative to the file's folder, or
    absolute where a picture is not below it: they mean the same in whichever folder a command is run.
    """

    def __init__(self, path: Path, manifest: Manifest, judged_by: JudgedBy, *, raw: bool = False) -> None:
        """Continue the file at ``path``, or begin it; ``raw``: with figures also where nothing is advised.

        Raises :class:`ArchiveError` for a file of another kind, a read-only one, and one of answers that were judged
        otherwise; and for one that another command writes to.
        """
        suffix = path.suffix.lower()
        if suffix not in (".jsonl", ".csv"):
            raise ArchiveError(f"{path}: results are written as .jsonl or .csv")
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
        self._columns = columns([c.name for c in manifest.classes]) if suffix == ".csv" else None
        self._lock = FileLock(_lock_of(self._path))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ArchiveError(f"another command writes to {path}; choose another --out") from None
        except OSError as error:
            raise ArchiveError(
                f"{path} cannot be written: {error.strerror} in its folder; choose another --out"
            ) from error
        try:
            self._done = self._begin(judged_by, raw=raw)
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
            _lock_of(self._path).unlink()
        self._lock.release()

    def has(self, picture: Path) -> bool:
        """Whether a picture, by any of its names, had an answer when the file was opened."""
        return self.source_of(picture) is not None

    def source_of(self, picture: Path) -> Source | None:
        """What the answer that a picture had then was made from."""
        return self._done.get(os.path.realpath(picture))

    def add(self, picture: Path, prediction: Prediction | None, error: str | None) -> None:
        """Append the outcome of one picture.

        Raises :class:`ArchiveError` when the file was removed, replaced or changed by another program, and when it
        cannot be written, as on a full disk.
        """
        row: dict[str, Any] = {"picture": to_text(self._name_of(picture)), "error": error and printable(error)}
        if prediction is not None:
            fields = to_fields(prediction) if self._columns is None else to_cells(prediction)
            row = {"picture": row["picture"], **fields}
        try:
            now = _identity(self._path.stat())
        except FileNotFoundError:
            now = None
        if now != self._written:
            raise ArchiveError(f"{self._path} was removed or changed by another program; repeat the command")
        left = memoryview(self._line(row).encode(*_ENCODING))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as failure:
            raise self._unwritable(failure) from failure
        self._written = _identity(os.fstat(self._file.fileno()))

    def _begin(self, judged_by: JudgedBy, *, raw: bool) -> dict[str, Source]:
        """Rewrite the file with its complete answers only; their sources by the real paths of their pictures."""
        answered = [row for row in self._rows() if not row.get("error")]
        for row in answered:
            if differences := self._judged_by(row).differences(judged_by):
                raise ArchiveError(f"{self._path} holds answers of {differences}; choose another --out")
            if self._status(row) == "abstained" and bool(row.get("diagnosis")) != raw:
                said = "without" if raw else "with"
                raise ArchiveError(f"{self._path} was begun {said} --raw; choose another --out")
            row["picture"] = as_written_now(str(row["picture"]))
        sources = {self._real_path(row): self._source(row) for row in answered}
        # Without errors and half-written lines: those pictures are repeated.
        text = self._head() + "".join(map(self._line, answered))
        try:
            replace_file(self._path, text.encode(*_ENCODING), durable=True)
        except OSError as failure:
            raise self._unwritable(failure) from failure
        return sources

    def _real_path(self, row: dict[str, Any]) -> str:
        try:
            return os.path.realpath(self._path.parent / to_path(row["picture"]))
        except ValueError as error:  # NUL
            raise self._something_else(f"the name {row['picture']:.40}: {error}") from None

    def _name_of(self, picture: Path) -> str:
        if picture.is_absolute():
            return str(picture)
        path, real = os.path.abspath(picture), os.path.realpath(picture)  # noqa: PTH100 - keeps names of links
        if os.path.realpath(path) != real:  # dots after a link
            path = real
        folder = f"{self._path.parent}{os.sep}"
        return path.removeprefix(folder)

    def _judged_by(self, row: dict[str, Any]) -> JudgedBy:
        try:
            if self._columns is not None:
                return JudgedBy(*(str(row[field]) for field in JudgedBy._fields))
            model, decision = row["model"], row["decision"]
            fields = (model["sha256"], model["variant"], decision["operating_point"], decision["abstains"])
            return JudgedBy(*map(str, (*fields, prevalence_text(decision["prevalence"]))))
        except (KeyError, TypeError):
            raise self._something_else("an answer without its model") from None

    def _status(self, row: dict[str, Any]) -> object:
        """``abstained``, ``ok`` or ``caution``; earlier versions had other words."""
        status: object = row["status"] if self._columns is not None else row["decision"].get("status")
        if status not in get_args(Status):
            raise self._something_else("answers of an earlier version")
        return status

    def _source(self, row: dict[str, Any]) -> Source:
        try:
            image_sha256 = row["sha256"] if self._columns is not None else row["image"]["sha256"]
        except (KeyError, TypeError):
            raise self._something_else("an answer without its picture's digest") from None
        judged_by = self._judged_by(row)
        return Source(str(image_sha256), judged_by.model_sha256, judged_by.variant)

    def _something_else(self, why: object) -> ArchiveError:
        return ArchiveError(f"{self._path} is not of this model's answers ({why}); choose another --out")

    def _unwritable(self, failure: OSError) -> ArchiveError:
        return ArchiveError(f"{self._path}: {failure.strerror}; repeat the command to resume")

    def _head(self) -> str:
        return "" if self._columns is None else csv_line(self._columns)

    def _line(self, row: dict[str, Any]) -> str:
        if self._columns is None:
            return json.dumps(row) + "\n"
        return csv_line([row.get(column, "") for column in self._columns])

    def _rows(self) -> list[dict[str, Any]]:
        """The rows up to the last complete line."""
        if not self._path.is_file():
            return []
        text = self._path.read_bytes().decode(*_ENCODING).removeprefix("\ufeff")  # Excel's mark of UTF-8
        text, half = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        half = half.rstrip("\0")  # a loss of power leaves zeros
        try:
            # A half-written line begins in a known way; in a table, all lines after the header are its rows.
            begun = half.startswith(_LINE) if self._columns is None else bool(text)
            if not begun and not (self._head() or _LINE).startswith(half):
                raise ValueError("its last line is another's")
            if self._columns is None:
                rows = [json.loads(line) for line in text.splitlines()]
            else:
                head, *cells = csv.reader(io.StringIO(text, newline="")) if text else [self._columns]
                if head != self._columns:
                    raise ValueError(f"its columns are {', '.join(head):.60}, not {', '.join(self._columns):.30}...")
                rows = [dict(zip(head, row, strict=True)) for row in cells]
            if not all(isinstance(row, dict) and "picture" in row for row in rows):
                raise ValueError("it holds something else")
        except (ValueError, csv.Error) as error:
            raise self._something_else(error) from error
        return rows


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    """Which file it is, and its length in bytes."""
    return stat.st_dev, stat.st_ino, stat.st_size
