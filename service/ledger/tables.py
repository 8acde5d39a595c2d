"""Worklist and recalls as CSV (RFC 4180) and as a calendar (RFC 5545); pure functions."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime

from service.bundle.base import Record
from service.ledger.worklist import Recall, WorkItem

# Where a spreadsheet would take the cell for a formula; those of full width, as in Japanese, count as well.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Of a line, before it is folded (RFC 5545, 3.1).
_LONGEST_LINE = 75


def to_csv(kind: type[Record], items: Sequence[WorkItem | Recall]) -> str:
    """A table of the items, with the fields of ``kind`` as columns."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(kind.model_fields)
    for item in items:
        writer.writerow([cell(value) for value in item.model_dump(mode="json").values()])
    return table.getvalue()


def cell(value: object) -> str:
    """The text of one cell, which no spreadsheet takes for a formula."""
    text = "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    return f"'{text}" if text.startswith(_FORMULA) else text


def to_calendar(recalls: Sequence[Recall], client: str, now: datetime) -> str:
    """A calendar of whole-day events. A recall keeps its UID when its date moves, so an import replaces it."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Clinical-Inspired Network//Recalls//EN", "CALSCALE:GREGORIAN"]
    for recall in recalls:
        uid = hashlib.sha256(f"{client}\0{recall.lesion}\0{recall.months}".encode()).hexdigest()[:32]
        lines += [
            "BEGIN:VEVENT",
            f"UID:{uid}@cin",
            f"DTSTAMP:{now.astimezone(UTC):%Y%m%dT%H%M%SZ}",
            # Rises with each visit.
            f"SEQUENCE:{(recall.last_visit - date(1970, 1, 1)).days}",
            f"DTSTART;VALUE=DATE:{recall.due:%Y%m%d}",
            f"SUMMARY:Recall: lesion {recall.lesion}",
            f"DESCRIPTION:{recall.months} months after the visit of {recall.last_visit}",
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _folded(line: str) -> str:
    """The line in parts of at most 75 octets; all of it is ASCII."""
    first, rest = line[:_LONGEST_LINE], line[_LONGEST_LINE:]
    step = _LONGEST_LINE - 1
    return "\r\n ".join([first, *(rest[at : at + step] for at in range(0, len(rest), step))])
