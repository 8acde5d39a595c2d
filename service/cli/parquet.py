"""A table of answers as Parquet, for programs that read a million rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import Any, BinaryIO

from service.cli.rows import kinds

WRITES_PARQUET = find_spec("pyarrow") is not None

_ROWS_AT_ONCE = 10_000


def write_parquet(file: BinaryIO, classes: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of cells, by the columns of :mod:`service.cli.rows`; memory holds ten thousand.

    Cells may be a CSV's texts. Numbers are float64 and int64; an empty cell is null. Needs the extra ``parquet``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {float: pa.float64(), int: pa.int64(), bool: pa.bool_(), str: pa.string()}
    of = kinds(classes)
    schema = pa.schema([(column, types[kind]) for column, kind in of.items()])
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for some in _in_groups(rows):
            cells = {column: [_value(row.get(column), kind) for row in some] for column, kind in of.items()}
            writer.write_table(pa.table(cells, schema=schema))


def _value(cell: Any, kind: type) -> Any:
    if cell is None or cell == "":
        return None
    return cell == "True" if kind is bool and isinstance(cell, str) else kind(cell)


def _in_groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rest = iter(rows)
    while some := list(islice(rest, _ROWS_AT_ONCE)):
        yield some
