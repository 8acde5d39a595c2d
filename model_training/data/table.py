"""Own images: a CSV table ``id, image, mask, label[, split, group]``, in any order of the columns.

``image`` and ``mask`` are paths from the table's folder; an image without a mask trains the second stage only.
``label`` is the name of a class of the configuration, ``split`` train, validation or test. Images of one ``group``, a
patient or a lesion, stay together in every split.

Everything that is wrong with a table is reported at once, by row, up to a limit. Rows are counted as editors
and spreadsheets do: the header is row 1. Whether the files can be decoded shows when they are: ``frames.py``.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from model_training.config import SPLITS
from model_training.data.pictures import DatasetError, PictureSet, Sample, listed
from service.bundle import DiagnosisClass

REQUIRED, OPTIONAL = ("id", "image", "mask", "label"), ("split", "group")

_COLUMNS = f"{','.join(REQUIRED)}[,{','.join(OPTIONAL)}]"


class _Problem(NamedTuple):
    """What is wrong with a row; row 0 is the table."""

    row: int
    text: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.text}" if self.row else self.text


class _Row(NamedTuple):
    """One row that could be read; ``image`` and ``mask`` are None where the file is missing, or none is named."""

    number: int
    id: str
    image: Path | None
    mask: Path | None
    names_mask: bool
    label: str
    split: str
    group: str


@dataclass(frozen=True)
class Table:
    """The sets of one table: ``name`` without a column ``split``, else ``name-train`` and so on."""

    name: str
    file: Path
    diagnoses: tuple[DiagnosisClass, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a set of this table may have."""
        return (self.name, *(f"{self.name}-{split}" for split in SPLITS))

    def classes(self, _name: str) -> tuple[DiagnosisClass, ...]:
        """Those of the configuration."""
        return self.diagnoses

    def read(self, name: str, *, allow_missing: bool) -> PictureSet:
        """The set ``name``; the whole table is checked. Raises :class:`DatasetError`."""
        classes = tuple(each.name for each in self.diagnoses)
        reading = _Reading(self.file.parent.resolve(), classes, allow_missing)
        rows = list(reading.rows(_records(self.file)))
        if problems := [*map(str, sorted([*reading.problems, *_problems_between(rows, classes)]))]:
            raise DatasetError(listed(f"{self.file} cannot be used", problems))
        if not rows:
            raise DatasetError(f"{self.file} has no rows below its header; give every image one")
        chosen = self._of_split(name, rows)
        return PictureSet(
            name,
            classes,
            tuple(
                Sample(
                    row.id,
                    row.image,
                    row.mask,
                    classes.index(row.label),
                    row.group or None,
                    f"{self.file.name}, row {row.number}",
                )
                for row in chosen
                if row.image is not None
            ),
            tuple(row.id for row in chosen if row.image is None),
            tuple(row.id for row in chosen if row.image is not None and row.names_mask and row.mask is None),
        )

    def _of_split(self, name: str, rows: Sequence[_Row]) -> list[_Row]:
        split = name.removeprefix(self.name).removeprefix("-")
        if bool(split) != any(row.split for row in rows):
            hint = (
                f"has no column split: name it {self.name}, and hold out a part with data.holdout or data.fold"
                if split
                else f"has a column split: name its sets {', '.join(self.names[1:])}"
            )
            raise DatasetError(f"there is no set {name!r}: {self.file} {hint}")
        chosen = [row for row in rows if row.split == split]
        if not any(row.image for row in chosen):
            raise DatasetError(f"{self.file} has no image with the split {split}; give it some, or name another set")
        return chosen


def _records(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row's number and its cells without surrounding blanks; empty rows are left out."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            for number, cells in enumerate(csv.reader(text, strict=True), start=1):
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield number, stripped
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; data.tables gives its path from the data folder") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 text ({error.reason}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DatasetError(f"{file} is not CSV ({error}); save it as CSV with commas") from error


def _problem_of_header(cells: Sequence[str]) -> str | None:
    if len(cells) == 1 and any(sign in cells[0] for sign in ";\t"):
        return "the columns are not separated by commas; save the table as CSV with commas"
    if missing := [name for name in REQUIRED if name not in cells]:
        return f"no column {', '.join(missing)}; the columns are {_COLUMNS}"
    # A misspelt "group" would put one patient on both sides of a split.
    if unknown := [name for name in cells if name not in (*REQUIRED, *OPTIONAL)]:
        return f"unknown column {', '.join(map(repr, unknown))}; remove it, or call it one of {_COLUMNS}"
    return f"a column is there twice; the columns are {_COLUMNS}" if len(set(cells)) < len(cells) else None


@dataclass
class _Reading:
    """One reading of a table in ``folder``, and the problems found in single rows."""

    folder: Path
    classes: tuple[str, ...]
    allow_missing: bool
    problems: list[_Problem] = field(default_factory=list)

    def rows(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[_Row]:
        """The rows below the header; in place of a cell that is wrong they have an empty one."""
        number, header = next(records, (1, []))
        if problem := _problem_of_header(header):
            self.add(number, problem)
            return
        for number, cells in records:
            if len(cells) != len(header):
                self.add(number, f"{len(cells)} cells, the header has {len(header)}; put cells with commas in quotes")
                continue
            yield self._row(number, dict(zip(header, cells, strict=True)))

    def add(self, number: int, problem: str) -> None:
        """Keep a problem of one row."""
        self.problems.append(_Problem(number, problem))

    def _row(self, number: int, cells: Mapping[str, str]) -> _Row:
        label, split = cells["label"], cells.get("split", "")
        if not cells["id"]:
            self.add(number, "no id; give every image its own")
        if label not in self.classes:
            self.add(number, f"unknown label {label!r}; write {_either(self.classes)}, or add it to data.classes")
        if "split" in cells and split not in SPLITS:
            self.add(number, f"unknown split {split!r}; write {_either(SPLITS)}")
        if not cells["image"]:
            self.add(number, "no image; write its path from the table's folder, or remove the row")
        return _Row(
            number,
            cells["id"],
            self._file(number, "image", cells["image"]),
            self._file(number, "mask", cells["mask"]),
            bool(cells["mask"]),
            label,
            split,
            cells.get("group", ""),
        )

    def _file(self, number: int, what: str, path: str) -> Path | None:
        if not path:
            return None
        file = self.folder / path
        try:
            outside = not file.resolve().is_relative_to(self.folder)
            exists = not outside and file.is_file() and os.access(file, os.R_OK)
        except (OSError, ValueError):  # a name that no file can have
            outside, exists = False, False
        if outside:
            self.add(number, f"{what} {path!r} lies outside the table's folder; move it, or the table, to fit")
        elif not exists and not self.allow_missing:
            remedy = (
                "correct its path from the table's folder"
                if what == "image"
                else "correct its path, or leave the cell empty"
            )
            self.add(number, f"{what} {path!r} is not there, or may not be read; {remedy}")
        return file if exists else None


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _problems_between(rows: Sequence[_Row], classes: Sequence[str]) -> Iterator[_Problem]:
    """What is wrong with rows that are right alone."""
    ids: dict[str, int] = {}
    images: dict[Path, int] = {}
    groups: dict[str, _Row] = {}
    for row in rows:
        if row.id and (first := ids.setdefault(row.id, row.number)) != row.number:
            yield _Problem(row.number, f"the id {row.id!r} is that of row {first} too; give every image its own")
        if row.image and (first := images.setdefault(row.image, row.number)) != row.number:
            yield _Problem(row.number, f"its image is that of row {first} too; list every image once")
        other = groups.setdefault(row.group, row) if row.group else row
        if other.split != row.split and {other.split, row.split} <= set(SPLITS):
            places = f"in {row.split} here and in {other.split} in row {other.number}"
            yield _Problem(row.number, f"the group {row.group!r} is {places}; keep a group in one split")
    rows_of = {name: [row for row in rows if row.label == name] for name in classes} if rows else {}
    for name, own in rows_of.items():
        if not own:
            yield _Problem(0, f"no image has the label {name}; add some, or remove the class from data.classes")
        elif len(own) == 1:
            only = f"the only image of {name}; add others, or remove the row and its class"
            yield _Problem(own[0].number, only)
        elif not any(row.split in ("", "train") for row in own):
            yield _Problem(own[0].number, f"no image of {name} has the split train; give some of them that split")
