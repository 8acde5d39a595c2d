"""``cin-train download``, ``audit``, ``prepare`` and ``crops``: the images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_training.cli.options import (
    CacheOption,
    ConfigOption,
    DataOption,
    SetOption,
    command,
    console,
    make_experiment,
)
from model_training.data.audit.audit import audit_sets
from model_training.data.audit.print import print_audit
from model_training.data.download.download import download_challenge
from model_training.data.download.official import BASE_URL
from model_training.files import write_json, write_text
from model_training.reporting.crops import crop_figures
from model_training.training.command_line import command_line


@command
def download(
    challenge: Annotated[str, typer.Argument(help="isic2016 or isic2017.")],
    data: DataOption = Path("data"),
    base_url: Annotated[
        str, typer.Option(envvar="CIN_DATA_URL", help="Address of a mirror, without the year.")
    ] = BASE_URL,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Keep archives once unpacked.")] = False,
    accept_changed: Annotated[
        bool, typer.Option("--accept-changed", help="Accept files that differ from the known ones.")
    ] = False,
) -> None:
    """Download and unpack the official files of a challenge; the same command resumes after an interruption."""
    download_challenge(
        challenge,
        data,
        console=console(),
        base_url=base_url,
        keep_archives=keep_archives,
        accept_changed=accept_changed,
    )


@command
def audit(
    only: Annotated[
        list[str] | None, typer.Option(help="Only this set or challenge, e.g. isic2017-train; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write every finding into this JSON file.")] = None,
    data: DataOption = Path("data"),
) -> None:
    """Look for shared images, copies, contradictory labels, and files that are missing or cannot be decoded."""
    to = console()
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    report = audit_sets(data, only or (), console=to)
    print_audit(report, to)
    if out is not None:
        write_text(out, report.to_json(command=command_line()))
        to.print(f"all findings: {out}", highlight=False)


@command
def prepare(
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Decode the training and validation images once, for all later commands; of own tables the test images, too."""
    experiment = make_experiment(config, set_, data, cache, Path())
    test = experiment.config.data.test
    # Before somebody trains for days.
    tested = [experiment.frames(test)] if experiment.config.data.is_own(test) else []
    for frames in [*experiment.training_sets(), *tested]:
        masks = int(frames.has_mask.sum())
        experiment.console.print(f"{frames.name}: {len(frames)} images, {masks} masks, digest {frames.digest[:16]}")


@command
def crops(
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Measure the crops' magnification, and the AUC of the lesion's size alone, from the training set's outlines."""
    experiment = make_experiment(config, set_, data, cache, Path())
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = crop_figures(experiment.training_sets()[0], experiment.config)
    write_json(out, {"command": command_line(), **figures})
    to, factor = experiment.console, figures["magnified"]["factor"]
    to.print(
        f"{figures['magnified']['share']:.0%} of the crops are magnified; median {factor['p50']:.2f}", highlight=False
    )
    for name, found in figures["classes"].items():
        if found["auc_of_lesion_size"] is not None:
            to.print(f"{name}: AUC of the lesion's size alone {found['auc_of_lesion_size']:.3f}", highlight=False)
