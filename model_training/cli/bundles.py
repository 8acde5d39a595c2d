"""``cin-train rewrite``, ``views``: a bundle's report again, and what several views of an image would change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_training.cli.abstention import experiment_of, write_figures
from model_training.cli.options import CacheOption, DataOption, FiguresOption, command, console
from model_training.files import write_text
from model_training.release.rewrite import rewrite_report
from model_training.release.views import measure_views
from model_training.reporting.report import FIGURES_NAME
from service.bundle import check_target, load_bundle


@command
def rewrite(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    answers: Annotated[Path, typer.Option(help="Folder with its kept answers, such as results/cin-isic2017-2.1.0.")],
    out: Annotated[Path, typer.Option(help="Folder for the same bundle with its report written again.")],
    figures: FiguresOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Write a bundle's figures, checklist and card again from kept answers, as `export` would write them today."""
    source = load_bundle(bundle)
    check_target(out)
    written = rewrite_report(source, experiment_of(source, data, cache), answers, out)
    if figures is not None:
        write_text(figures, written.path(FIGURES_NAME).read_text(encoding="utf-8"))
    console().print(f"{written.folder}: sha256 {written.sha256}", highlight=False)


@command
def views(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Compare a bundle's advice on changed validation images with that of its mean over five views of each."""
    source = load_bundle(bundle)
    images = experiment_of(source, data, cache).validation_set()
    with console().status(f"changing {images.name}"):
        found = measure_views(source, images)
    point = source.manifest.default_operating_point
    write_figures(figures, source, {"set": images.name, "operating_point": point, **found})
    for row in found["changes"]:
        shares = ", ".join(f"{key.replace('_', ' ')} {row[key]['value']:.1%}" for key in ("one_view", "all_views"))
        console().print(f"{row['change']}: {shares}", highlight=False)
