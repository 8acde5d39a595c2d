"""Measure commands on large archives, and write ``results/archives.json``: CPU time and memory of each,
every finished step at once.

``python -m tests.benchmarks.archives``; takes 3 GB below the folder for temporary files, and some minutes.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from model_training.files import write_text
from model_training.training.revision import git_commit
from service.bundle import load_bundle
from service.cli.main import app
from service.cli.tables import Csv, JsonLines, Table
from service.settings import Settings
from tests.paths import REPOSITORY
from tests.processor import processor

EXAMPLES = REPOSITORY / "service" / "web" / "examples"
# What a step may take, with 400,000 rows.
MOST = {"resume": {"cpu_seconds": 15.0, "peak_mb": 300.0}}
_IN_A_FOLDER = 20
_EVERY_FAILURE = 1000
_PARTS = 3
# Places in a row for what is different in each.
_NAME, _SHA256 = "@name@", "@sha256@"


def name_of(i: int) -> str:
    """The path of a picture in the archive; in the order of listing."""
    return f"archive/patient-{i // _IN_A_FOLDER:06}/IMG_{i:07}.jpg"


def make_archive(folder: Path, numbers: range) -> None:
    """Empty files with the names of pictures."""
    for i in numbers:
        path = folder / name_of(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def write_rows(folder: Path, num: int) -> None:
    """Tables of ``num`` answers: the model's to two pictures, under other names and digests."""
    app(["predict", str(EXAMPLES), "--out", str(folder / "two.jsonl")], standalone_mode=False)
    answers = [json.loads(line) for line in (folder / "two.jsonl").read_text(encoding="utf-8").splitlines()]
    for answer in answers:
        answer |= {"picture": _NAME, "image": {**answer["image"], "sha256": _SHA256}}
    csv = Csv([each.name for each in load_bundle(Settings().bundle).manifest.classes])
    with ExitStack() as opened:
        files = {n: opened.enter_context((folder / n).open("wb")) for n in ("all.jsonl", "all.csv", "failures.jsonl")}
        parts = [opened.enter_context((folder / f"part-{i}.jsonl").open("wb")) for i in range(_PARTS)]
        files["all.csv"].write(csv.head)
        for i, line in enumerate(_lines(JsonLines(), answers, num)):
            files["all.jsonl"].write(line)
            parts[i % _PARTS].write(line)
            failure = JsonLines().line({"picture": name_of(i), "error": "the picture is damaged"})
            files["failures.jsonl"].write(line if (i + 1) % _EVERY_FAILURE else failure)
        files["all.csv"].writelines(_lines(csv, answers, num))


def _lines(table: Table, answers: list[dict[str, Any]], num: int) -> Iterator[bytes]:
    forms = [table.line(answer) for answer in answers]
    for i in range(num):
        digest = hashlib.sha256(b"%d" % i).hexdigest()
        yield (
            forms[i % len(forms)]
            .replace(_NAME.encode(), name_of(i).encode())
            .replace(_SHA256.encode(), digest.encode())
        )


def measured(step: str, *paths: Path) -> dict[str, Any]:
    """What a step returned and took, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.archive_steps", step, *map(str, paths)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    typer.echo(f"{step} {' '.join(path.name for path in paths)}: {figures}", err=True)
    return figures


def steps(
    folder: Path, num_rows: int, num_paths: int, run: Callable[..., dict[str, Any]] = measured
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of every step, by its name. Raises ``AssertionError`` when one does not do its work."""

    def checked(step: str, expected: int, *names: str) -> dict[str, Any]:
        figures = run(step, *(folder / name for name in names))
        returned = figures.pop("returned")
        assert returned == expected, f"{step} {names}: {returned}, not {expected}"
        return {
            name: {"value": round(value, 1), "most": MOST.get(step, {}).get(name)} for name, value in figures.items()
        }

    yield "start of the program", checked("start", 0)
    make_archive(folder, range(num_rows))
    write_rows(folder, num_rows)
    yield "parse the rows of a `.jsonl`, and nothing else", checked("parse", num_rows, "all.jsonl")
    for name in ("all.jsonl", "all.csv"):
        before = (folder / name).stat()
        yield (
            f"resume a `{(folder / name).suffix}`, {before.st_size / 1e6:.0f} MB",
            checked("resume", num_rows, name, "archive"),
        )
        assert (folder / name).stat().st_mtime_ns == before.st_mtime_ns, "a whole file is left as it is"
    failures = num_rows // _EVERY_FAILURE
    name = f"resume a `.jsonl` with {failures} failures, which is rewritten"
    yield name, checked("resume", num_rows - failures, "failures.jsonl", "archive")
    parts = [f"part-{i}.jsonl" for i in range(_PARTS)]
    yield f"`cin results check` of {_PARTS} parts, `.jsonl`", checked("check", 0, *parts)
    yield f"`cin results merge` of {_PARTS} parts, `.jsonl`", checked("merge", 0, *parts, "merged.jsonl")
    assert filecmp.cmp(folder / "all.jsonl", folder / "merged.jsonl", shallow=False)
    make_archive(folder, range(num_rows, num_paths))
    yield f"list {num_paths:,} images", checked("list_folder", num_paths, "archive")


def main(
    rows: Annotated[int, typer.Option(min=_EVERY_FAILURE, help="Answers in a results file.")] = 400_000,
    paths: Annotated[int, typer.Option(help="Pictures in the archive, at least as many.")] = 1_000_000,
    out: Annotated[Path, typer.Option(help="File to write.")] = REPOSITORY / "results" / "archives.json",
) -> None:
    """Measure what commands on large archives cost."""
    result: dict[str, Any] = {
        "command": "python -m tests.benchmarks.archives " + " ".join(sys.argv[1:]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "machine": processor(),
        "rows": rows,
        "steps": {},
    }
    with tempfile.TemporaryDirectory(prefix="archives-") as folder:
        for name, figures in steps(Path(folder), rows, max(rows, paths)):
            result["steps"][name] = figures
            write_text(out, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
