"""``cin dicom``: results into a PACS, for the images in it."""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from typing import Annotated, get_args

import typer

from service.bundle import BundleError
from service.cli import ctrl_c
from service.cli.common import log_to_stderr, read_settings, refuse
from service.dicom.identity import Kind
from service.imaging.decoder_process import keep_memory_private
from service.imaging.kinds import READS_DICOM
from service.inference.answers import EngineError
from service.problems import ServiceError

app = typer.Typer(no_args_is_help=True)

# Modalities of what is stored.
OF_RESULTS = ("SR", "SEG", "OT", "PR")


@app.callback()
def options() -> None:
    """Images in a PACS."""


@app.command()
def watch(
    url: Annotated[str, typer.Argument(help="The PACS's root of DICOMweb, as in https://pacs.example.org/dicom-web.")],
    modality: Annotated[str, typer.Option(help="Of the series to look for; DMS is dermoscopy.")] = "DMS",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only studies of this day and later.")
    ] = None,
    every: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds between two passes.")] = 10.0,
    objects: Annotated[str, typer.Option(help="What to store: of sr, seg, sc and pr, separated by commas.")] = "sr",
    once: Annotated[bool, typer.Option("--once", help="One pass; exit code 1 when an image has no results.")] = False,
) -> None:
    """Predict every image in a PACS and store the results beside it, until SIGTERM or Ctrl-C.

    CIN_DICOMWEB_USER and CIN_DICOMWEB_PASSWORD_FILE name user and password. A pass asks the PACS which images lack
    results: the command may be started, ended and killed at any time, also several at once.
    """
    kinds = _kinds(objects)
    if not (modality.isascii() and modality.isalnum() and len(modality) <= 16):
        refuse("--modality: a code, such as DMS", wrong_usage=True)
    if modality in OF_RESULTS:
        refuse(f"--modality: {modality} is one of results, which would get results in turn", wrong_usage=True)
    if not (READS_DICOM and find_spec("httpx")):
        refuse("install the service with its extra [dicom]")
    settings = read_settings()
    keep_memory_private()
    log_to_stderr(settings.log_level)
    from service.cli import watching
    from service.pacs.client import PacsError

    work = watching.watch(
        settings,
        url,
        modality=modality,
        since=None if since is None else since.date(),
        kinds=kinds,
        every_seconds=every,
        once=once,
    )
    try:
        complete = ctrl_c.run(work)
    except (BundleError, EngineError, PacsError) as error:
        refuse(str(error))
    except ServiceError as error:
        refuse(error.detail)
    except KeyboardInterrupt:
        typer.echo("cin: stopped; repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    if not complete:
        raise typer.Exit(1)


def _kinds(objects: str) -> list[Kind]:
    named = {name.strip() for name in objects.split(",")}
    kinds = [kind for kind in get_args(Kind) if kind in named]
    if len(kinds) < len(named):
        refuse(f"--objects: of {', '.join(get_args(Kind))}, separated by commas", wrong_usage=True)
    return kinds
