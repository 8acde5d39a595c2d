"""``cin feedback``: how the model did, by what clinicians said and histology found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.bundle.base import Interval
from service.cli.common import read_settings, refuse
from service.ledger.file import LedgerError, LedgerFile
from service.ledger.report import FeedbackReport, ModelRecord, feedback_report

app = typer.Typer(no_args_is_help=True, help="What clinicians say of predictions, in the ledger that CIN_LEDGER names.")

_NOT_A_STUDY = (
    "These are the lesions of which the truth became known, mostly suspicious ones: the rates are not those of all "
    "lesions. Intervals are 95 %, as if answers were independent; several images of one lesion are not."
)


@app.command("report")
def report(
    ledger: Annotated[Path | None, typer.Option(help="Another ledger than CIN_LEDGER.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Sensitivity, specificity and calibration, by model version and operating point, of all clients together."""
    file = open_ledger(ledger)
    try:
        found = feedback_report(file.everything())
    except LedgerError as error:
        refuse(str(error))
    finally:
        file.close()
    typer.echo(found.model_dump_json(indent=2) if as_json else "\n".join(_lines(found)))


@app.callback()
def options() -> None:
    """Keeps ``report`` a command of its own."""


def open_ledger(path: Path | None) -> LedgerFile:
    """The ledger at the path, or that of ``CIN_LEDGER``; ends the command when there is none."""
    path = path or read_settings().ledger
    if path is None:
        refuse("CIN_LEDGER names no file; set it as for cin serve, or give --ledger")
    if not path.is_file():
        refuse(f"{path} is no file; name the ledger that cin serve keeps")
    try:
        return LedgerFile(path)
    except LedgerError as error:
        refuse(str(error))


def _lines(report: FeedbackReport) -> list[str]:
    opinions = ", ".join(f"{num} {name}" for name, num in sorted(report.opinions.items())) or "no opinion"
    lines = [f"{report.num_answers} answers, {report.num_with_feedback} with feedback: {opinions}"]
    for record in report.models:
        lines += ["", *_of_model(record)]
    return [*lines, "", _NOT_A_STUDY] if report.models else [*lines, "", "No diagnosis and no histology yet."]


def _of_model(record: ModelRecord) -> list[str]:
    return [
        f"{record.model} at {record.operating_point}, by {record.truth} (bundle {record.model_sha256[:12]})",
        f"  answers        {record.num_answers} of {record.num_images} images, {record.num_lesions} labelled lesions; "
        f"{record.num_malignant} malignant; {record.num_without_advice} more got no advice",
        f"  sensitivity    {_rate(record.sensitivity)}",
        f"  specificity    {_rate(record.specificity)}",
        f"  calibration    mean risk {record.mean_risk:.3f}, malignant {_rate(record.malignant)}",
        f"  Brier score    {record.brier:.3f} ({record.brier_low:.3f} to {record.brier_high:.3f})",
        *(
            f"  risk {group.low:.1f} to {group.high:.1f}  {group.num_answers} answers, mean risk "
            f"{group.mean_risk:.3f}, malignant {_rate(group.malignant)}"
            for group in record.groups
            if group.mean_risk is not None
        ),
    ]


def _rate(rate: Interval | None) -> str:
    return "-" if rate is None else f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f})"
