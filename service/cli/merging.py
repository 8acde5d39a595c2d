"""Results of several commands as one table, and whether they fit together.

Neither needs the images or the model. Of every row, memory holds its path and where it is, about 130 bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from service.cli.archive import ArchiveError
from service.cli.files import replacing
from service.cli.names import to_path, to_text
from service.cli.parquet import write_parquet
from service.cli.paths import RealPaths, identity, is_remote, join
from service.cli.results_file import lock_of
from service.cli.s3 import Location
from service.cli.tables import Csv, JsonLines, JudgedBy, NotAnswers, Row, Table, name_in, table_of

# Whether it failed, which part it is in, where its bytes begin, how many they are. Sorts answers before failures.
_PLACE = struct.Struct(">BHQL")


class Part(NamedTuple):
    """A results file, or a part of the results."""

    path: Path
    table: Table
    answers: int
    failed: int
    half_row: bool  # at its end, as of a command that was killed


class Entry(NamedTuple):
    """Where a row is."""

    path: str  # of the image, absolute
    failed: bool
    part: int
    offset: int
    num_bytes: int


@dataclass
class Survey:
    """What several results files hold."""

    parts: list[Part] = field(default_factory=list)
    judged_by: JudgedBy | None = None  # of the first answer
    classes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # what is judged otherwise, for people
    rows: list[bytes] = field(default_factory=list)  # sorted by the parts of their paths
    _raw: bool | None = None

    def pictures(self) -> Iterator[list[Entry]]:
        """The rows of every image, answers first, in the order in which a folder is searched."""
        for _, group in groupby(map(_unpack, self.rows), key=lambda entry: entry.path):
            yield list(group)

    def read(self, entry: Entry) -> bytes:
        """The bytes of a row."""
        with self.parts[entry.part].path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), entry.num_bytes, entry.offset)

    def row(self, entry: Entry) -> Row:
        """A row."""
        return self.parts[entry.part].table.parse(self.read(entry))

    def agree(self, entries: Sequence[Entry]) -> bool:
        """Whether several answers to one image are the same, but for the image's name."""
        tables = [self.parts[entry.part].table for entry in entries]
        cells = [{**table.cells(self.row(entry)), "picture": ""} for table, entry in zip(tables, entries, strict=True)]
        texts = [{column: "" if value is None else str(value) for column, value in row.items()} for row in cells]
        columns = set.intersection(*map(set, texts))
        return all(text[column] == texts[0][column] for text in texts for column in columns)

    def add(self, path: Path) -> None:
        """Read a results file; raises :class:`ArchiveError` for something else, ``OSError``."""
        counts, end, others = [0, 0], 0, dict[str, int]()
        try:
            table = table_of(path)
            if isinstance(table, Csv):
                self.classes = self.classes or table.classes
            with path.open("rb") as file:
                for record in table.records(file):
                    end = file.tell()
                    row = table.parse(record)
                    failed = bool(row.get("error"))
                    counts[failed] += 1
                    if not failed and (why := self._difference(table, row)):
                        others[why] = others.get(why, 0) + 1
                    place = _PLACE.pack(failed, len(self.parts), end - len(record), len(record))
                    self.rows.append(_key(_absolute(path, name_in(row))) + b"\0" + place)
                half_row = file.seek(0, os.SEEK_END) > max(end, len(table.head))
        except NotAnswers as why_not:
            raise ArchiveError(f"{path} is not a file of results ({why_not})") from why_not
        self.others += [f"{path}: {num} answers of {why}" for why, num in others.items()]
        self.parts.append(Part(path, table, counts[False], counts[True], half_row))

    def _difference(self, table: Table, row: Row) -> str:
        judged_by, raw = table.judged_by(row), table.is_raw(row)
        if self.judged_by is None:
            self.judged_by = judged_by
        self.classes = self.classes or list(row.get("probabilities") or ())
        if self._raw is None:
            self._raw = raw
        if judged_by == self.judged_by and raw in (None, self._raw):
            return ""
        said = "" if raw in (None, self._raw) else f"a command {'with' if raw else 'without'} --raw"
        return ", ".join(filter(None, (judged_by.differences(self.judged_by), said)))


def survey(paths: Iterable[Path]) -> Survey:
    """Read results files; raises :class:`ArchiveError` for a file of something else, ``OSError``."""
    found = Survey()
    for path in paths:
        found.add(path)
    found.rows.sort()
    return found


def missing(found: Survey, pictures: Iterable[Location]) -> Iterator[Location]:
    """The images without an answer, by whichever of their names."""
    real_paths = RealPaths()
    answered = {identity(real_paths.of(first.path)) for first, *_ in found.pictures() if not first.failed}
    return (picture for picture in pictures if identity(real_paths.of(picture)) not in answered)


def merge(found: Survey, out: Path) -> None:
    """Write the first answer to each image, or its first failure, as one table: .jsonl, .csv or .parquet.

    Names are relative to the folder of ``out``, as :class:`ResultsFile` writes them. Raises :class:`ArchiveError` for a
    form that the parts do not have, and when another command writes to ``out``; ``OSError``.
    """
    entries = (first for first, *_ in found.pictures())
    suffix, out = out.suffix.lower(), Path(os.path.realpath(out))
    if suffix == ".jsonl" and not all(isinstance(part.table, JsonLines) for part in found.parts):
        raise ArchiveError(f"{out}: a CSV does not hold all of an answer; name a .csv or .parquet")
    if suffix not in (".jsonl", ".csv", ".parquet"):
        raise ArchiveError(f"{out}: results are written as .jsonl, .csv or .parquet")
    if not out.parent.is_dir():
        raise ArchiveError(f"{out}: the folder {out.parent} does not exist")
    lock = FileLock(lock_of(out))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ArchiveError(f"another command writes to {out}; choose another --out") from None
    try:
        with replacing(out, durable=True) as file:
            if suffix == ".parquet":
                write_parquet(file, found.classes, (_cells(found, entry, out) for entry in entries))
                return
            table = JsonLines() if suffix == ".jsonl" else Csv(found.classes)
            file.write(table.head)
            file.writelines(_line(found, entry, out, table) for entry in entries)
    finally:
        lock_of(out).unlink(missing_ok=True)  # while it is locked: a file that was removed counts as no lock
        lock.release()


def _absolute(part: Path, name: str) -> str:
    path = join(os.path.realpath(part.parent), to_path(name))
    return path if is_remote(path) else os.path.normpath(path)


def _key(path: str) -> bytes:
    """Sorts as the parts of paths do."""
    return path.replace(os.sep, "\0").encode("utf-8", "surrogatepass")


def _unpack(row: bytes) -> Entry:
    path = row[: -_PLACE.size - 1].decode("utf-8", "surrogatepass").replace("\0", os.sep)
    failed, part, offset, num_bytes = _PLACE.unpack(row[-_PLACE.size :])
    return Entry(path, bool(failed), part, offset, num_bytes)


def _read(found: Survey, entry: Entry, out: Path) -> tuple[Table, bytes, Row]:
    """A row, as it is and with the image's name in ``out``; the bytes are empty where the name is another."""
    table, record = found.parts[entry.part].table, found.read(entry)
    row = table.parse(record)
    name = name_in(row)
    if not (is_remote(path := to_path(name)) or os.path.isabs(path)):  # noqa: PTH117 - of very many
        name = to_text(entry.path.removeprefix(f"{out.parent}{os.sep}"))
    return table, record if name == row["picture"] else b"", {**row, "picture": name}


def _line(found: Survey, entry: Entry, out: Path, table: Table) -> bytes:
    of, record, row = _read(found, entry, out)
    return record.rstrip(b"\r\n") + b"\n" if record and type(table) is type(of) else table.line(row)


def _cells(found: Survey, entry: Entry, out: Path) -> Row:
    table, _, row = _read(found, entry, out)
    return table.cells(row)
