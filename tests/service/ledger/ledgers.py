"""Entries of a ledger, made up, and ledgers on a real disk."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from service.ledger.entries import Answer, Feedback, Repeats
from service.ledger.file import LedgerFile
from service.ledger.verification import LedgerVerdict, verify

REPEATS = Repeats(median_change=0.05, percentile_95_change=0.2)
THRESHOLD = 0.4
MODEL = {"1.0": "a" * 64, "2.0": "b" * 64}

_numbers = itertools.count(1)
_BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def answer(lesion: str | None = None, visit: str | None = None, risk: float | None = 0.3, **changes: Any) -> Answer:
    """An answer to an image of its own; without ``risk`` nothing was advised."""
    number = next(_numbers)
    version = changes.pop("version", "1.0")
    fields = {
        "at": _BEGIN + timedelta(seconds=number),
        "client": "clinic",
        "id": f"{number:032x}",
        "lesion": lesion,
        "visit": None if lesion is None else date.fromisoformat(visit or "2026-01-01"),
        "image_sha256": f"{number:064x}",
        "model": "net",
        "model_version": version,
        "model_sha256": MODEL[version],
        "variant": "fp32",
        "operating_point": "balanced",
        "threshold": THRESHOLD,
        "refer": None if risk is None else risk >= THRESHOLD,
        "malignant_probability": risk,
        "diagnosis": None if risk is None else "nevus",
        "reasons": [],
        "abstained_because": ["blurred"] if risk is None else [],
        "extent": {"along": 200.0, "across": 100.0},
        "millimetres_per_pixel": None,
        "repeatability": REPEATS,
    }
    return Answer.model_validate(fields | changes)


def feedback(of: Answer, **said: Any) -> Feedback:
    """Feedback on an answer; ``histology`` and ``diagnosis`` are melanoma or nevus."""
    number = next(_numbers)
    roles = {f"{name}_malignant": None if name not in said else said[name] == "melanoma" for name in TRUTHS}
    fields = {
        "at": _BEGIN + timedelta(seconds=number),
        "client": of.client,
        "id": of.id,
        **dict.fromkeys(("opinion", *TRUTHS, "recall_months", "millimetres_per_pixel")),
        "date": date(2026, 1, 1),
    }
    return Feedback.model_validate(fields | roles | said)


TRUTHS = ("diagnosis", "histology")


def checked(path: Path) -> LedgerVerdict:
    """The verdict on a ledger that no one else has opened. Raises where it is not as it was written."""
    file = LedgerFile(path)
    try:
        return verify(file)
    finally:
        file.close()


def bytes_in(folder: Path) -> bytes:
    """Everything that the files of a folder hold."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def fill(filler: Path) -> None:
    """Write a file until its disk is full."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
