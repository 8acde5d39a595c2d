"""Audit logs on a real disk: written, read back and verified."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.audit.chain import Entry, Verdict, verify
from service.audit.file import AuditFile


def lines_of(*paths: Path) -> list[bytes]:
    """The lines of one log, oldest file first."""
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def entries_of(*paths: Path) -> list[dict[str, Any]]:
    """The entries of one log, oldest file first."""
    return [json.loads(line) for line in lines_of(*paths)]


def check(*paths: Path) -> Verdict:
    """Raises where the chain is broken."""
    return verify(lines_of(*paths))


def append(file: AuditFile, *names: str, **details: Any) -> None:
    """Append entries of these names, all with the same details."""
    file.append([Entry.now(name, **details) for name in names])


@contextmanager
def disk_with(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond: the system writes what still fits, and then fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def verified_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a log whose chain holds and whose last line is whole."""
    assert check(path).torn_bytes == 0
    return entries_of(path)


def predictions(path: Path) -> list[dict[str, Any]]:
    """The entries of predictions in such a log."""
    return [entry for entry in verified_entries(path) if entry["what"] == "prediction"]
