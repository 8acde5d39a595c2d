"""Many pictures without a server: read ahead on other cores, run in batches, kept in a file that can be gone on with.

The file is JSON lines or CSV by its name. Every answer is in it before the next batch runs; what a kill has left half
written is taken back, and pictures that failed are tried again.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from service.bundle import Manifest
from service.imaging import Picture, PictureError
from service.inference.answers import Answer, DeviceError, EngineError
from service.prediction.schemas import Findings

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"})

# File names need not be UTF-8; those that are not keep their bytes.
_ENCODING = ("utf-8", "surrogateescape")

# How a JSON line begins.
_LINE = '{"picture": '


class ArchiveError(ValueError):
    """The pictures or the file of results cannot be used; the text says what to change."""


class Outcome(NamedTuple):
    """What became of one picture: ``found``, or why there is no answer."""

    path: Path
    found: tuple[Picture, Answer] | None
    error: str | None = None


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """The files among ``paths``, and the pictures in the folders among them and below, by their suffix and in order.

    Hidden files in folders are none of them.

    Raises :class:`ArchiveError` for a folder without any, and for one that may not be read: pictures in it would be
    missing without a word.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        files = (Path(folder, name) for folder, _, names in os.walk(path, onerror=_unreadable) for name in names)
        # macOS leaves a hidden file of its own beside every picture on foreign disks: ``._name.jpg``.
        shown = (p for p in files if not p.name.startswith("."))
        inside = sorted(p for p in shown if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise ArchiveError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        found += inside
    return list(dict.fromkeys(found))


def _unreadable(error: OSError) -> None:
    raise ArchiveError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def answer_all(
    paths: Iterable[Path],
    read: Callable[[bytes], Picture],
    run: Callable[[NDArray[np.uint8]], list[Answer]],
    *,
    threads: int,
    batch: int,
    lanes: int,
) -> Iterator[Outcome]:
    """The outcome of every picture, in order.

    For one lane, ``threads`` read the pictures ahead of the network; several lanes, each a core of a CPU, read the
    pictures of their next batch themselves. At most ``threads`` + (2 ``lanes`` + 1) ``batch`` are in memory.
    Raises :class:`DeviceError` when ONNX Runtime fails: the other pictures would fare no better.
    """

    def read_file(path: Path) -> Picture:
        return read(path.read_bytes())

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="picture") as readers,
        ThreadPoolExecutor(lanes, thread_name_prefix="inference") as engines,
    ):
        upcoming, ahead = iter(paths), deque[tuple[Path, Callable[[], Picture]]]()
        running = deque[Future[list[Outcome]]]()

        def look_ahead() -> None:
            while len(ahead) < threads + batch and (path := next(upcoming, None)) is not None:
                reading = readers.submit(read_file, path).result if lanes == 1 else partial(read_file, path)
                ahead.append((path, reading))

        try:
            look_ahead()
            while ahead or running:
                while ahead and len(running) < 2 * lanes:
                    chunk = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                    running.append(engines.submit(_answer, chunk, run))
                    look_ahead()
                yield from running.popleft().result()
        finally:
            for executor in (readers, engines):
                executor.shutdown(wait=False, cancel_futures=True)


def _answer(
    chunk: Sequence[tuple[Path, Callable[[], Picture]]], run: Callable[[NDArray[np.uint8]], list[Answer]]
) -> list[Outcome]:
    pictures: dict[Path, Picture] = {}
    errors: dict[Path, str] = {}
    for path, reading in chunk:
        try:
            pictures[path] = reading()
        except (PictureError, OSError) as error:
            errors[path] = (error.strerror if isinstance(error, OSError) else None) or str(error)
    answers = _run(pictures, run, errors) if pictures else {}
    return [
        Outcome(path, (pictures[path], answers[path]) if path in answers else None, errors.get(path))
        for path, _ in chunk
    ]


def _run(
    pictures: dict[Path, Picture], run: Callable[[NDArray[np.uint8]], list[Answer]], errors: dict[Path, str]
) -> dict[Path, Answer]:
    """The answers of a batch; one that fails is run again picture by picture, so that one does not fail the others."""
    try:
        answers = run(np.stack([picture.frame for picture in pictures.values()]))
        return dict(zip(pictures, answers, strict=True))
    except DeviceError:
        raise
    except EngineError as error:
        if len(pictures) == 1:
            errors |= dict.fromkeys(pictures, str(error))
            return {}
    return {p: a for path, picture in pictures.items() for p, a in _run({path: picture}, run, errors).items()}


class ResultsFile:
    """Answers in a file, one picture a line, all judged alike; a context manager.

    ``done`` holds the pictures, by their paths as given, that have an answer already.
    """

    def __init__(self, path: Path, manifest: Manifest, *, model_sha256: str, point: str, abstains: str) -> None:
        """Go on with ``path``, or begin it.

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
        self._path = path.resolve()  # what a link leads to is written, not the link
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
        """Leave the file with its answers alone; the pictures that they are of."""
        answered = [row for row in self._rows() if not row.get("error")]
        for row in answered:
            if self._judged_by(row) != judged_by:
                raise ArchiveError(
                    f"{self._path} holds answers of another model, operating point or CIN_ABSTAIN; choose another --out"
                )
        # Without errors and what was half written: those pictures are tried again.
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        scratch.write_bytes((self._head() + "".join(map(self._line, answered))).encode(*_ENCODING))
        scratch.replace(self._path)
        return {str(row["picture"]) for row in answered}

    def add(self, picture: str, findings: Findings | None, error: str | None) -> None:
        """Append the outcome of one picture."""
        row: dict[str, Any] = {"picture": picture, "error": error}
        if findings is not None:
            row = {
                "picture": picture,
                **(findings.model_dump(mode="json") if self._columns is None else _flat(findings)),
            }
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
        """What the file holds up to its last whole line."""
        if not self._path.is_file():
            return []
        text = self._path.read_bytes().decode(*_ENCODING)
        text, half = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        try:
            # The head of a table is never half written, and every other line begins as ours do.
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
        *("width", "height", "format", "sha256"),
        *("model", "model_version", "model_sha256", "variant", "provider", "error"),
    ]


def _flat(findings: Findings) -> dict[str, Any]:
    decision, lesion, image, model = findings.decision, findings.lesion, findings.image, findings.model
    return {
        "diagnosis": findings.diagnosis,
        **findings.probabilities,
        **decision.model_dump(mode="json", exclude_none=True),
        "reasons": " ".join(decision.reasons),
        "abstained_because": " ".join(decision.abstained_because),
        "lesion_found": lesion.found,
        "lesion_fraction": lesion.fraction,
        **{f"crop_{edge}": value for edge, value in lesion.crop_box.model_dump().items()},
        **(findings.quality.model_dump() if findings.quality is not None else {}),
        **image.model_dump(),
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
