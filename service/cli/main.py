"""``cin``: the command line, put together from its commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from service.cli import audit, bundle, dicom, feedback, jobs, keys, results
from service.cli.predict import predict
from service.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cin {version('clinical-inspired-network')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The Clinical-Inspired Network on dermoscopy images. Research software, not a medical device.

    Exit codes: 0 done; 1 refused, failed, or some images have no answer; 2 wrong usage; 130 stopped by Ctrl-C.
    """


app.command()(serve)
app.command()(predict)
app.add_typer(results.app, name="results")
app.add_typer(bundle.app, name="bundle")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(feedback.app, name="feedback")
app.add_typer(dicom.app, name="dicom")
app.add_typer(jobs.app, name="jobs")


def main() -> None:
    """Run the command that ``sys.argv`` names."""
    app()
