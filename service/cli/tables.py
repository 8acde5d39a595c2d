"""The forms of a results file, JSON lines and CSV, read and written row by row.

A row is one line: :mod:`service.cli.names` keeps line breaks out of it.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, get_args

from pydantic_core import from_json

from service.cli.names import as_written_now, to_path
from service.cli.rows import classes_of, columns, csv_line, to_cells
from service.prediction.decision import Status
from service.prediction.schemas import Prediction

Row = dict[str, Any]

# Names in files of earlier versions need not be UTF-8.
_ENCODING = ("utf-8", "surrogateescape")
_BOM = b"\xef\xbb\xbf"  # Excel's mark of UTF-8
_LONGEST_LINE = 2**24  # bytes
_JSON_LINE = b'{"picture": '  # how it begins
_STATUSES = frozenset(get_args(Status))


class NotAnswers(ValueError):  # noqa: N818 - named for what it says
    """What makes a file something else than a table of this program's answers."""


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


class Source(NamedTuple):
    """What an answer and its overlays were made from."""

    image_sha256: str
    model_sha256: str
    variant: str

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """The source of a prediction."""
        return cls(prediction.image.sha256, prediction.model.sha256, prediction.model.variant)


def name_in(row: Row) -> str:
    """The name in a row, as it is written now; raises :class:`NotAnswers` for one that no file can have."""
    name = row["picture"]
    if not isinstance(name, str) or not name or "\0" in to_path(name := as_written_now(name)):
        raise NotAnswers(f"the name {name!s:.40}")
    return name


class Table(ABC):
    """A form of results files; methods raise :class:`NotAnswers` for what is none."""

    head = b""

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """The bytes of the complete rows, from the beginning of a file; memory holds one row. A half-written one at the
        end is left out, when it is one."""
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        record, num_records = b"", 0
        while (line := file.readline(_LONGEST_LINE)).endswith(b"\n") and len(record) < _LONGEST_LINE:
            record += line
            if self.head and record.count(b'"') % 2:  # a name of an earlier version, with line breaks
                continue
            yield record
            record, num_records = b"", num_records + 1
        if record or len(line) == _LONGEST_LINE:
            raise NotAnswers("a row that does not end")
        half = line.rstrip(b"\0")  # a loss of power leaves zeros
        begun = bool(num_records) if self.head else half.startswith(_JSON_LINE)
        if not begun and not (self.head or _JSON_LINE).startswith(half):
            raise NotAnswers("its last line is another's")

    def parse(self, record: bytes) -> Row:
        """The row of a record; it has ``picture``."""
        try:
            row = self._parse(record)
        except ValueError as error:
            raise NotAnswers(error) from error
        except RecursionError:  # of the standard library's parser; ours refuses it as a ValueError
            raise NotAnswers("a row that is nested too deeply") from None
        if not isinstance(row, dict) or "picture" not in row:
            raise NotAnswers("it holds something else")
        return row

    @abstractmethod
    def line(self, row: Mapping[str, Any]) -> bytes:
        """The record of a row: of ``picture`` and ``error`` or the fields of a prediction, or as it was parsed."""

    @abstractmethod
    def judged_by(self, row: Row) -> JudgedBy:
        """What an answer was judged by."""

    @abstractmethod
    def image_sha256(self, row: Row) -> bytes:
        """The digest of an answer's image, 32 bytes."""

    @abstractmethod
    def cells(self, row: Row) -> Row:
        """The row's cells by their columns, as in a CSV."""

    def is_raw(self, row: Row) -> bool | None:
        """Whether an answer was written with ``--raw``; None where that makes no difference."""
        status = self._status(row)
        if status not in _STATUSES:
            raise NotAnswers("answers of an earlier version")
        return bool(row.get("diagnosis")) if status == "abstained" else None

    @abstractmethod
    def _parse(self, record: bytes) -> Any: ...

    @abstractmethod
    def _status(self, row: Row) -> object: ...


class JsonLines(Table):
    """One JSON object a line: a prediction's fields."""

    def line(self, row: Mapping[str, Any]) -> bytes:
        """One line."""
        return json.dumps(row).encode() + b"\n"

    def judged_by(self, row: Row) -> JudgedBy:
        """From the model and the decision."""
        try:
            model, decision = row["model"], row["decision"]
            fields = (model["sha256"], model["variant"], decision["operating_point"], decision["abstains"])
            return JudgedBy(*map(str, (*fields, prevalence_text(decision["prevalence"]))))
        except (KeyError, TypeError):
            raise NotAnswers("an answer without its model") from None

    def image_sha256(self, row: Row) -> bytes:
        """From the image."""
        try:
            return bytes.fromhex(row["image"]["sha256"])
        except (KeyError, TypeError, ValueError):
            raise NotAnswers("an answer without its image's digest") from None

    def cells(self, row: Row) -> Row:
        """Its cells; of a failure, the name and the error."""
        return row if row.get("error") else _cells_of(row)

    def _parse(self, record: bytes) -> Any:
        try:
            return from_json(record)  # in half the time
        except ValueError:  # halves of surrogate pairs, in names of earlier versions
            return json.loads(record.decode(*_ENCODING))

    def _status(self, row: Row) -> object:
        return row["decision"].get("status")


class Csv(Table):
    """A table with a head; a prediction's cells."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes, self.columns = list(classes), columns(classes)
        self.head = csv_line(self.columns).encode()

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Those after the head."""
        records = super().records(file)
        if (head := next(records, None)) is not None and (cells := _cells(head)) != self.columns:
            raise NotAnswers(f"its columns are {', '.join(cells):.60}, not {', '.join(self.columns):.30}...")
        yield from records

    def line(self, row: Mapping[str, Any]) -> bytes:
        """One line; of a prediction's fields, those in the table."""
        cells = _cells_of(row) if "decision" in row else row
        return csv_line([cells.get(column, "") for column in self.columns]).encode(*_ENCODING)

    def judged_by(self, row: Row) -> JudgedBy:
        """From the columns of that name."""
        return JudgedBy(*(row[field] for field in JudgedBy._fields))

    def image_sha256(self, row: Row) -> bytes:
        """From its column."""
        try:
            return bytes.fromhex(row["sha256"])
        except ValueError:
            raise NotAnswers("an answer without its image's digest") from None

    def cells(self, row: Row) -> Row:
        """The row."""
        return row

    def _parse(self, record: bytes) -> Any:
        cells = _cells(record)
        if len(cells) != len(self.columns):
            raise NotAnswers(f"a row has {len(cells)} cells, not {len(self.columns)}")
        return dict(zip(self.columns, cells, strict=True))

    def _status(self, row: Row) -> object:
        return row["status"]


def _cells_of(fields: Mapping[str, Any]) -> Row:
    try:
        return {"picture": fields["picture"], **to_cells(fields)}
    except (KeyError, TypeError, AttributeError):
        raise NotAnswers("an answer of an earlier version") from None


def _cells(record: bytes) -> list[str]:
    try:
        return next(csv.reader([record.decode(*_ENCODING)]))
    except (csv.Error, StopIteration) as error:
        raise NotAnswers(error) from error


def table_of(path: Path) -> Table:
    """The form of an existing results file, by its suffix; of a CSV, with the classes in its head."""
    if path.suffix.lower() == ".jsonl":
        return JsonLines()
    with path.open("rb") as file:
        head = file.readline(_LONGEST_LINE).removeprefix(_BOM)
    try:
        return Csv(classes_of(_cells(head)))
    except ValueError as error:
        raise NotAnswers(error) from error
