"""Whether a ledger is as it was written: its chain, its contents, and what the audit log knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from service.audit.chain import ChainError, Head, follow
from service.ledger.entries import Answer
from service.ledger.file import LedgerError, LedgerFile, is_content_of, parse


class LedgerVerdict(NamedTuple):
    """The result of :func:`verify`."""

    head: Head | None
    num_answers: int
    num_feedback: int
    num_erased: int
    # Entries after the first noted head that no head names: those that are there, and erasures of named ones.
    unknown: list[int]


def verify(file: LedgerFile, noted: Iterable[Head] = ()) -> LedgerVerdict:
    """Check every entry, and that ``noted`` heads are among those of the chain.

    Raises :class:`LedgerError` about the first entry that was changed, added, moved or removed, or whose content is
    missing without an erasure.
    """
    noted = list(noted)  # first: a service that is running adds an entry before its audit log names it
    head: Head | None = None
    digests: dict[int, str] = {}
    missing: dict[int, str] = {}
    erased: set[int] = set()
    by_erasure: dict[int, list[int]] = {}
    num_answers = num_feedback = 0
    for seq, line, salt, content in file.rows():
        try:
            if head is None and seq != 1:
                raise ChainError("the entries before it are missing")
            head = follow(f"{line}\n".encode(), head)
        except ChainError as error:
            raise LedgerError(f"ledger entry {seq}: {error.reason}") from None
        if head.seq != seq:
            raise LedgerError(f"ledger entry {seq}: it was moved")
        digests[seq] = head.sha256
        members = json.loads(line)
        if members["what"] == "erasure":
            erased.update(members["entries"])
            by_erasure[seq] = members["entries"]
            if content is not None:
                raise LedgerError(f"ledger entry {seq}: it has a content that it was not written with")
        elif content is None:
            missing[seq] = members["what"]
        elif not is_content_of(line, salt, content):
            raise LedgerError(f"ledger entry {seq}: its content was changed since it was written")
        else:
            entry = parse(content)
            num_answers += isinstance(entry, Answer)
            num_feedback += not isinstance(entry, Answer)
    for seq in sorted(missing.keys() ^ erased):
        told = "its content was removed without an erasure" if seq in missing else "it was erased, and is there again"
        raise LedgerError(f"ledger entry {seq}: {told}")
    for each in noted:
        if digests.get(each.seq) != each.sha256:
            raise LedgerError(f"ledger entry {each.seq}: the audit log knows another one, or its end was cut off")
    named = {each.seq for each in noted}
    unnamed = [seq for seq in digests if noted and seq > min(named) and seq not in named | erased]
    # What is withdrawn before anybody was told of it is in no log, nor is its erasure.
    unknown = [seq for seq in unnamed if seq not in by_erasure or named.intersection(by_erasure[seq])]
    return LedgerVerdict(head, num_answers, num_feedback, len(erased), unknown)


def heads_in(entries: Iterable[bytes]) -> Iterable[Head]:
    """The ledger's heads that lines of an audit log name; one without an end is being written, or a crash tore it."""
    for line in entries:
        if b'"ledger":' in line and line.endswith(b"\n"):
            yield Head.parse(str(json.loads(line)["ledger"]))
