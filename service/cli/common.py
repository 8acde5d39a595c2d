"""Settings, logs, metrics and error messages of the commands."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from typing import Any, NoReturn

import typer
from prometheus_client import CollectorRegistry, start_http_server
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.cli.names import printable
from service.cli.s3 import Location, locate
from service.settings import Settings, unknown_variables

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def read_settings(**options: Any) -> Settings:
    """The settings; ``options`` of the command, unless None, take the place of variables.

    Ends the command when one is invalid, and warns of unknown ``CIN_`` variables.
    """
    for name in unknown_variables(os.environ):
        typer.echo(f"cin: warning: {name} is no setting of this service; see the list in its documentation", err=True)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong_option = any(wrong["loc"] and wrong["loc"][0] in given for wrong in error.errors())
        refuse("; ".join(_said_of(wrong, given) for wrong in error.errors()), wrong_usage=wrong_option)


def _said_of(wrong: ErrorDetails, options: Collection[str]) -> str:
    if not wrong["loc"]:  # several settings contradict each other; the message names them
        return wrong["msg"].removeprefix("Value error, ")
    name = "_".join(map(str, wrong["loc"]))
    said = f"--{name.replace('_', '-')}" if name in options else f"CIN_{name.upper()}"
    return f"{said}: {wrong['msg']}"


def refuse(message: str, *, wrong_usage: bool = False) -> NoReturn:
    """End the command with one line that says why; exit code 1, or 2 of wrong usage."""
    typer.echo(f"cin: {printable(' '.join(message.split()))}", err=True)
    raise typer.Exit(2 if wrong_usage else 1)


def log_to_stderr(level: str) -> None:
    """Log the service at ``level``, other packages at INFO at least: Pillow's debug messages quote image tags, which
    may name a patient."""
    level = level.upper()
    logging.basicConfig(level=max(logging.INFO, logging.getLevelNamesMapping()[level]), format=_LOG_FORMAT)
    logging.getLogger("service").setLevel(level)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes bytes of forms
    # A line for each malformed request, which are counted; strangers could push older lines out of the log.
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno != logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve metrics to Prometheus on a port of their own; ends the command when it is taken."""
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        refuse(f"cannot listen on {host}:{port} ({error.strerror}); set CIN_METRICS_PORT to a free one")


def locations(texts: Iterable[str]) -> list[Location]:
    """Paths and addresses of a command; refuses an address that cannot be used."""
    try:
        return [locate(text) for text in texts]
    except ValueError as error:
        refuse(str(error), wrong_usage=True)
