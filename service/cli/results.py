"""``cin results``: the files of several commands as one, and what is in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from service.cli import merging
from service.cli.archive import UNREADABLE, ArchiveError, list_pictures
from service.cli.common import locations, refuse
from service.cli.merging import Entry, Survey
from service.cli.names import to_text
from service.cli.parquet import WRITES_PARQUET
from service.cli.reports import unreadable_folder
from service.cli.tables import NotAnswers

app = typer.Typer(no_args_is_help=True, help="Results files of cin predict.")

Files = Annotated[list[Path], typer.Argument(help="Results files, .jsonl or .csv, as of the parts of an archive.")]

_SHOWN = 10  # of each kind of problem


@app.command("merge")
def merge_files(
    files: Files,
    out: Annotated[Path, typer.Option(help="New file, .jsonl, .csv or .parquet, in the order of the images' paths.")],
) -> None:
    """Write several results files as one table, every image once.

    An answer takes the place of a failure. Refused when answers were judged otherwise, or two to one image differ.
    """
    try:
        if os.path.lexists(out):
            refuse(f"{out} exists; remove it or choose another --out")
        if out.suffix.lower() == ".parquet" and not WRITES_PARQUET:
            refuse("install the service with its extra [parquet]")
        found = merging.survey(files)
        repeated, contradictions = _answered_twice(found)
        if problems := [*found.others, *contradictions]:
            _print_problems(problems)
            refuse("nothing was written; leave those files out, or remove those rows")
        merging.merge(found, out)
    except (ArchiveError, NotAnswers) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    typer.echo(f"{out}: {_counts(found)}" + (f", {len(repeated)} answered several times alike" if repeated else ""))


@app.command("check")
def check(
    files: Files,
    archive: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder, image, s3:// address or list of paths that should have answers; may be given several times.",
        ),
    ] = None,
) -> None:
    """Say what is in results files, and exit with 1 when they are not one whole: images without an answer, with
    several, or answers of another model or other settings."""
    left_out: Counter[str] = Counter()
    try:
        found = merging.survey(files)
        for part in found.parts:
            half = ", and a half-written row" if part.half_row else ""
            typer.echo(f"{to_text(part.path)}: {part.answers} answers, {part.failed} failed{half}")
        repeated, contradictions = _answered_twice(found)
        problems = [*found.others, *contradictions, *repeated]
        if archive is None:
            failed = (first.path for first, *_ in found.pictures() if first.failed)
            lacking = [f"{to_text(path)}: no answer" for path in failed]
        else:
            pictures = list_pictures(locations(archive), left_out, own=files, onerror=unreadable_folder)
            lacking = [f"{to_text(path)}: no answer" for path in merging.missing(found, pictures)]
    except (ArchiveError, NotAnswers) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}")
    typer.echo(_counts(found))
    if judged_by := found.judged_by:
        typer.echo(", ".join(f"{name} {value or '-'}" for name, value in judged_by._asdict().items()))
    _print_problems(found.others)
    _print_problems(contradictions)
    _print_problems(repeated)
    _print_problems(lacking)
    unreadable = left_out[UNREADABLE]
    if problems or lacking or unreadable:
        refuse(
            f"{len(lacking)} without an answer, {len(repeated) + len(contradictions)} with several, "
            f"{len(found.others)} files with other settings, {unreadable} unreadable folders"
        )


def _answered_twice(found: Survey) -> tuple[list[str], list[str]]:
    """The images with several answers: those with the same, and those with others."""
    repeated: list[str] = []
    contradictions: list[str] = []
    for entries in found.pictures():
        answers = [entry for entry in entries if not entry.failed]
        if len(answers) > 1:
            alike = found.agree(answers)
            (repeated if alike else contradictions).append(_said(found, answers, "alike" if alike else "otherwise"))
    return repeated, contradictions


def _said(found: Survey, answers: Iterable[Entry], how: str) -> str:
    entries = list(answers)
    files = ", ".join(dict.fromkeys(to_text(found.parts[entry.part].path) for entry in entries))
    return f"{to_text(entries[0].path)}: answered {len(entries)} times, {how}, in {files}"


def _counts(found: Survey) -> str:
    answered = failed = 0
    for first, *_ in found.pictures():
        answered, failed = answered + (not first.failed), failed + first.failed
    return f"{answered + failed} images, {answered} answered, {failed} failed"


def _print_problems(problems: list[str]) -> None:
    for problem in islice(problems, _SHOWN):
        typer.echo(problem, err=True)
    if len(problems) > _SHOWN:
        typer.echo(f"and {len(problems) - _SHOWN} more like this", err=True)
