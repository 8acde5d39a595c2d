"""``cin audit``: whether the log is as it was written, and its entries for other systems."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from service.audit.chain import ChainError, Head, Verdict, verify
from service.cli.common import refuse
from service.cli.feedback import open_ledger
from service.fhir.audit_event import audit_event
from service.ledger.file import LedgerError
from service.ledger.verification import heads_in
from service.ledger.verification import verify as verify_ledger

app = typer.Typer(no_args_is_help=True, help="The audit log, in the file that CIN_AUDIT names.")

Files = Annotated[list[Path], typer.Argument(help="The log's files, the oldest first.")]


@app.command("verify")
def verify_files(
    files: Annotated[list[Path] | None, typer.Argument(help="The log's files, the oldest first.")] = None,
    head: Annotated[
        str | None, typer.Option(help="What cin audit head printed earlier: must be an entry of this log.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="The file that CIN_LEDGER names: check it, and that it has what the log knows.")
    ] = None,
) -> None:
    """Check that no entry was changed, added, moved or removed. If one was: its line, and exit code 1."""
    try:
        noted = None if head is None else Head.parse(head)
    except ValueError as error:
        refuse(str(error))
    if not files and (ledger is None or noted is not None):
        refuse("name the log's files, the oldest first", wrong_usage=True)
    if files:
        _verify_log(files, noted, head)
    if ledger is not None:
        _verify_ledger(ledger, files or ())


def _verify_log(files: Sequence[Path], noted: Head | None, head: str | None) -> None:
    verdict = _verified(files, noted)
    if not verdict.seen:
        refuse(f"entry {head} is not in this log: its end was cut off, or it is another log")
    typer.echo(f"{verdict.num_entries} entries, from {verdict.first} to {verdict.head.seq}, head {verdict.head}")
    if verdict.first > 1:
        typer.echo(f"cin: the {verdict.first - 1} entries before are in older files, which were not checked", err=True)


def _verify_ledger(path: Path, files: Sequence[Path]) -> None:
    file = open_ledger(path)
    try:
        found = verify_ledger(file, heads_in(_lines(files, {})))
    except LedgerError as error:
        refuse(f"{path}: {error}")
    finally:
        file.close()
    typer.echo(
        f"ledger: {found.num_answers} answers, {found.num_feedback} times feedback, {found.num_erased} entries erased, "
        f"head {found.head or 'none'}"
    )
    if found.unknown:
        shown = ", ".join(map(str, found.unknown[:10])) + (", ..." if len(found.unknown) > 10 else "")
        typer.echo(
            f"cin: {len(found.unknown)} of its entries are not in these logs ({shown}): a log is missing, the service "
            "is writing them or crashed before it had logged them, or another program wrote them",
            err=True,
        )


@app.command("head")
def print_head(files: Files) -> None:
    """Print number and digest of the last entry. Keep them where the service cannot write."""
    typer.echo(str(_verified(files, None).head))


@app.command("export")
def export(
    files: Files,
    fhir: Annotated[bool, typer.Option("--fhir", help="As FHIR R4 AuditEvents, one a line (NDJSON).")] = False,
) -> None:
    """Print the log's entries for another system, once no entry was changed, added, moved or removed."""
    if not fhir:
        refuse("say in which form: --fhir", wrong_usage=True)
    verdict = _verified(files, None)
    for line in islice(_lines(files, {}), verdict.num_entries):
        typer.echo(json.dumps(audit_event(json.loads(line)), separators=(",", ":")))
    typer.echo(f"cin: {verdict.num_entries} entries, from {verdict.first}, head {verdict.head}", err=True)


def _lines(files: Sequence[Path], num_lines: dict[Path, int]) -> Iterator[bytes]:
    """The lines of all files; counts those of each file in ``num_lines``."""
    for path in files:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                num_lines[path] = number
                yield line


def _verified(files: Sequence[Path], noted: Head | None) -> Verdict:
    num_lines: dict[Path, int] = {}
    try:
        verdict = verify(_lines(files, num_lines), noted=noted)
    except ChainError as error:
        number = error.line
        for path, num in num_lines.items():
            if number <= num:
                refuse(f"{path}, line {number}: {error.reason}")
            number -= num
        raise
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}")
    if verdict.torn_bytes:
        typer.echo(
            f"cin: after them {verdict.torn_bytes} bytes of a line that was not finished: it is being written, or a "
            "crash tore it; the next start cuts it off",
            err=True,
        )
    return verdict
