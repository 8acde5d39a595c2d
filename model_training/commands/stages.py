"""``cin-train area``, ``recognition``, ``evaluate``, ``report``, ``export`` and ``abstention``: one experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model_training.abstention import add_abstention, read_judged
from model_training.command_line import command_line
from model_training.commands.options import (
    LEDGER,
    CacheOption,
    ConfigOption,
    DataOption,
    LedgerOption,
    RunOption,
    SetOption,
    command,
    console,
    make_experiment,
)
from model_training.config import Config, DataConfig
from model_training.evaluate import Split
from model_training.evaluate import evaluate as evaluate_split
from model_training.experiment import Experiment
from model_training.export import export_bundle
from model_training.reporting.report import write_report
from model_training.run_folder import write_text
from service.bundle import load_bundle


@command
def area(
    run: RunOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """First stage: train the lesion area attention module. The same command resumes an interrupted run."""
    make_experiment(config, set_, data, cache, run).train_area()


@command
def recognition(
    run: RunOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Second stage: train everything else on the first stage's crops. The same command resumes."""
    make_experiment(config, set_, data, cache, run).train_recognition()


@command
def evaluate(
    run: RunOption,
    split: Annotated[str, typer.Option(help="validation (also fits the temperatures) or test.")] = "validation",
    purpose: Annotated[str, typer.Option(help="What the test split is read for; goes into the ledger.")] = "",
    force: Annotated[
        bool, typer.Option(help="Evaluate on pictures the model has seen, and report the overlap.")
    ] = False,
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Figures of a finished run: AUC, AP, ACC, SE, SP, mask Jaccard, box IoU; predictions for the official scorer."""
    if split not in ("validation", "test"):
        raise ValueError(f"--split is validation or test, not {split}")
    experiment = make_experiment(config, set_, data, cache, run)
    which: Split = "test" if split == "test" else "validation"
    metrics = evaluate_split(experiment, which, ledger=ledger, purpose=purpose, force=force)
    for name, value in metrics.items():
        experiment.console.print(f"{name:45} {value:.4f}", highlight=False)


@command
def report(
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Judge an evaluated run: calibration, operating points, plots, the CLEAR Derm checklist. Bundles include it."""
    experiment = make_experiment(config, set_, data, cache, run)
    for path in write_report(experiment, out).files:
        experiment.console.print(str(path), highlight=False)


@command
def export(
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    name: Annotated[str, typer.Option(help="The model's name.")] = "cin-isic2017",
    version: Annotated[str, typer.Option(help="The model's version.")] = "1.0.0",
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Export a finished, evaluated run as a model bundle, once the graph has passed its gate."""
    experiment = make_experiment(config, set_, data, cache, run)
    bundle = export_bundle(experiment, out, name=name, version=version, ledger=ledger)
    size = sum((bundle.folder / file).stat().st_size for file in bundle.manifest.files)
    experiment.console.print(f"{bundle.folder}: {size / 1e6:.1f} MB, sha256 {bundle.sha256}", highlight=False)


@command
def abstention(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, of any version.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    version: Annotated[str, typer.Option(help="The version that the bundle becomes.")],
    photographs: Annotated[
        str | None, typer.Option(help="Folder below --data with pictures of anything but dermoscopy.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="File for the limits and what came of them, .json.")] = None,
    purpose: Annotated[str, typer.Option(help="What the test split is read for; without one it is not read.")] = "",
    ledger: LedgerOption = LEDGER,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Fit anew when a bundle gives no advice, as `export` does: to the pictures that it was trained on."""
    source = load_bundle(bundle)
    config = Config(data=DataConfig.model_validate(source.manifest.provenance.config["recognition"]["data"]))
    written = add_abstention(
        source,
        out,
        Experiment(config, data, cache, Path(), console()),
        ledger=ledger,
        purpose=purpose or None,
        photographs=None if photographs is None else read_judged(source, data / photographs),
        version=version,
    )
    limits = written.manifest.abstention
    assert limits is not None
    about = {"command": command_line(), "bundle": f"{written.manifest.name} {version}", **limits.model_dump()}
    if figures is not None:
        write_text(figures, json.dumps(about, indent=2) + "\n")
    for measured in limits.measured:
        console().print(
            f"{measured.measured_on} {measured.variant}: {measured.abstained.value:.2%} of {measured.num_pictures} "
            f"without advice; {measured.num_by_reason}",
            highlight=False,
        )
