"""The audit log's hash chain: each line holds the digest of the one before, so changes and gaps are detected.

A line is a JSON object whose last member, ``sha256``, is the digest of the same object without it:

    {"seq":2,"previous":"<sha256 of line 1>","at":"...","what":"...", ... ,"sha256":"<digest>"}

The sequence number gives the order; clocks may be wrong. A chain alone does not show that its end was cut off or that
all of it was rewritten: for that, keep a head (number and digest of the last line) elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Head:
    """The end of a chain: number and digest of its last entry."""

    seq: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.sha256}"

    def tail(self) -> bytes:
        """The end of this entry's line."""
        return f',"sha256":"{self.sha256}"}}\n'.encode("ascii")

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head from its ``str``. Raises ValueError."""
        if not re.fullmatch("[0-9]{1,18}:[0-9a-f]{64}", text):
            raise ValueError("a head is NUMBER:SHA256, as cin audit head prints it")
        seq, _, digest = text.partition(":")
        return cls(int(seq), digest)


EMPTY = Head(0, "0" * 64)


@dataclass(frozen=True)
class Entry:
    """An event: ``what`` happened, when, and its details."""

    what: str
    at: datetime
    details: Mapping[str, Any]

    @classmethod
    def now(cls, what: str, **details: Any) -> Entry:
        """An event of this moment."""
        return cls(what, datetime.now(UTC), details)


class ChainError(Exception):
    """A line does not continue the chain; ``line`` is its number among those read, from 1."""

    def __init__(self, reason: str, line: int = 1) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


def to_line(entry: Entry, head: Head) -> tuple[bytes, Head]:
    """The line (with line break) that appends the entry after ``head``, and the new head."""
    fixed = {
        "seq": head.seq + 1,
        "previous": head.sha256,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "what": entry.what,
    }
    assert not entry.details.keys() & {*fixed, "sha256"}, "the chain's own members"
    body = json.dumps({**fixed, **entry.details}, separators=(",", ":")).encode("ascii")
    new = Head(head.seq + 1, hashlib.sha256(body).hexdigest())
    return body[:-1] + new.tail(), new


_TAIL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n\Z')


def follow(line: bytes, head: Head | None) -> Head:
    """Check that ``line`` continues ``head``, and return the new head. Raises ChainError.

    With None the line may have any number: the lines before it may be archived.
    """
    tail = _TAIL.search(line[-80:])
    if tail is None:
        raise ChainError("not an entry")
    digest = tail[1].decode("ascii")
    body = line[: -len(tail[0])] + b"}"
    if hashlib.sha256(body).hexdigest() != digest:
        raise ChainError("changed since it was written: its digest is another")
    try:
        members = json.loads(body)
        seq, previous = int(members["seq"]), str(members["previous"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ChainError("not an entry") from None
    head = EMPTY if seq == 1 and head is None else head
    if head is not None and seq != head.seq + 1:
        raise ChainError(f"entry {seq} where {head.seq + 1} belongs")
    if head is not None and previous != head.sha256:
        raise ChainError("does not continue the entry before it")
    return Head(seq, digest)


class Verdict(NamedTuple):
    """The result of :func:`verify`; ``torn_bytes`` is the length of a half-written last line."""

    first: int
    head: Head
    num_entries: int
    torn_bytes: int
    seen: bool


def verify(lines: Iterable[bytes], *, noted: Head | None = None) -> Verdict:
    """Check a chain, which may begin with any number; ``seen`` says whether ``noted`` is one of its heads.

    A last line without line break is not an entry: a crash cut it off, or it is being written. Raises
    :class:`ChainError`.
    """
    head, first, number, torn = None, 0, 0, b""
    seen = noted is None
    for number, line in enumerate(lines, 1):
        if torn:
            raise ChainError("not an entry", number - 1)
        if not line.endswith(b"\n"):
            torn = line
            continue
        try:
            head = follow(line, head)
        except ChainError as error:
            raise ChainError(error.reason, number) from None
        first = first or head.seq
        seen = seen or head == noted
    return Verdict(first, head or EMPTY, number - bool(torn), len(torn), seen)
