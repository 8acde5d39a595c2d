"""The file of ``cin predict --out``: JSON lines or CSV by its name, and resumable.

Every outcome is appended as it comes. The next command cuts off a half-written line, and repeats pictures that failed.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from service.bundle import Manifest
from service.cli.archive import ArchiveError
from service.prediction.schemas import Prediction

# These mean something only where a service keeps the prediction.
_NOT_WRITTEN = {"id", "created_at", "attention", "timings_ms"}

# File names need not be UTF-8; the bytes of others are kept.
_ENCODING = ("utf-8", "surrogateescape")

# How a JSON line begins.
_LINE = '{"picture": '


def to_fields(prediction: Prediction) -> dict[str, Any]:
    """The fields of a prediction that are written to files: those that mean something without a service."""
    return prediction.model_dump(mode="json", exclude=_NOT_WRITTEN)


class ResultsFile:
    """Answers in a file, one picture a line, all judged alike; a context manager.

    ``done`` holds the pictures, by their paths as given, that have an answer already.
    """

    def __init__(self, path: Path, manifest: Manifest, *, model_sha256: str, point: str, abstains: str) -> None:
        """Continue the file at ``path``, or begin it.

        Raises :class:`ArchiveError` for a file of another kind, or of answers from another model, at another point or
        with other abstaining; and for one that another command writes to.
        """
        suffix = path.suffix.lower()
        if suffix not in (".jsonl", ".csv"):
            raise ArchiveError(f"{path}: results are written as .jsonl or .csv")
        if path.is_dir():
            raise ArchiveError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise ArchiveError(f"{path}: the folder {path.parent} does not exist")
        self._path = path.resolve()  # a link's target is written, not the link
        self._columns = _columns([c.name for c in manifest.classes]) if suffix == ".csv" else None
        self._lock = FileLock(self._path.with_name(f".{self._path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ArchiveError(f"another command writes to {path}; choose another --out") from None
        try:
            self.done = self._begin((model_sha256, point, abstains))
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._lock.release()

    def _begin(self, judged_by: tuple[object, ...]) -> set[str]:
        """Rewrite the file with its complete answers only; their pictures."""
        answered = [row for row in self._rows() if not row.get("error")]
        for row in answered:
            if self._judged_by(row) != judged_by:
                raise ArchiveError(
                    f"{self._path} holds answers of another model, operating point or CIN_ABSTAIN; choose another --out"
                )
        # Without errors and half-written lines: those pictures are repeated.
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        scratch.write_bytes((self._head() + "".join(map(self._line, answered))).encode(*_ENCODING))
        scratch.replace(self._path)
        return {str(row["picture"]) for row in answered}

    def add(self, picture: str, prediction: Prediction | None, error: str | None) -> None:
        """Append the outcome of one picture."""
        row: dict[str, Any] = {"picture": picture, "error": error}
        if prediction is not None:
            row = {"picture": picture, **(to_fields(prediction) if self._columns is None else _flat(prediction))}
        with self._path.open("ab") as file:
            file.write(self._line(row).encode(*_ENCODING))

    def _judged_by(self, row: dict[str, Any]) -> tuple[object, ...]:
        """The model that an answer came from, the operating point, and whether it might abstain."""
        try:
            if self._columns is None:
                decision = row["decision"]
                return row["model"]["sha256"], decision["operating_point"], decision["abstains"]
            return row["model_sha256"], row["operating_point"], row["abstains"]
        except (KeyError, TypeError):
            raise self._something_else("an answer without its model") from None

    def _something_else(self, why: object) -> ArchiveError:
        return ArchiveError(f"{self._path} is not of this model's answers ({why}); choose another --out")

    def _head(self) -> str:
        return "" if self._columns is None else _csv_line(self._columns)

    def _line(self, row: dict[str, Any]) -> str:
        if self._columns is None:
            return json.dumps(row) + "\n"
        return _csv_line([row.get(column, "") for column in self._columns])

    def _rows(self) -> list[dict[str, Any]]:
        """The rows up to the last complete line."""
        if not self._path.is_file():
            return []
        text = self._path.read_bytes().decode(*_ENCODING)
        text, half = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        try:
            # The header is never half-written, and every other line begins in a known way.
            begun = bool(text) if self._columns is not None else half.startswith(_LINE) or _LINE.startswith(half)
            if half and not begun:
                raise ValueError("its last line is another's")
            if self._columns is None:
                rows = [json.loads(line) for line in text.splitlines()]
            else:
                head, *cells = csv.reader(io.StringIO(text, newline="")) if text else [self._columns]
                if head != self._columns:
                    raise ValueError("its columns are others")
                rows = [dict(zip(head, row, strict=True)) for row in cells]
            if not all(isinstance(row, dict) and "picture" in row for row in rows):
                raise ValueError("it holds something else")
        except (ValueError, csv.Error) as error:
            raise self._something_else(error) from error
        return rows


def _columns(classes: Sequence[str]) -> list[str]:
    return [
        "picture",
        "diagnosis",
        *classes,
        *("malignant_probability", "operating_point", "threshold", "refer", "status", "reasons", "abstained_because"),
        "abstains",
        *("lesion_found", "lesion_fraction", "crop_x0", "crop_y0", "crop_x1", "crop_y1"),
        *("sharpness", "dark_share", "bright_share", "colour", "unfamiliarity"),
        *("width", "height", "format", "sha256", "notes"),
        *("model", "model_version", "model_sha256", "variant", "provider", "error"),
    ]


def _flat(prediction: Prediction) -> dict[str, Any]:
    decision, lesion, image, model = prediction.decision, prediction.lesion, prediction.image, prediction.model
    return {
        "diagnosis": prediction.diagnosis,
        **prediction.probabilities,
        **decision.model_dump(mode="json", exclude_none=True),
        "reasons": " ".join(decision.reasons),
        "abstained_because": " ".join(decision.abstained_because),
        "lesion_found": lesion.found,
        "lesion_fraction": lesion.fraction,
        **{f"crop_{edge}": value for edge, value in lesion.crop_box.model_dump().items()},
        **(prediction.quality.model_dump() if prediction.quality is not None else {}),
        **image.model_dump(),
        "notes": " ".join(image.notes),
        "model": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "variant": model.variant,
        "provider": model.provider,
    }


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
