"""``cin``: the command line, put together from its commands."""

from __future__ import annotations

import typer

from service.cli import audit, bundle, keys
from service.cli.predict import predict
from service.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The Clinical-Inspired Network on dermoscopy pictures. Research software, not a medical device.",
)
app.command()(serve)
app.command()(predict)
app.add_typer(bundle.app, name="bundle")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run the command that ``sys.argv`` names."""
    app()
