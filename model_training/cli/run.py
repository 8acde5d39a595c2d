"""``cin-train area``, ``recognition``, ``out-of-fold``, ``evaluate``, ``report``, ``export``: one experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from model_training.cli.abstention import Folders, report_abstention
from model_training.cli.options import (
    LEDGER,
    CacheOption,
    ClinicalOption,
    ConfigOption,
    DataOption,
    FiguresOption,
    LedgerOption,
    MinutesOption,
    OtherDiagnosesOption,
    PhotographsOption,
    RunOption,
    SetOption,
    command,
    deadline_after,
    make_run,
)
from model_training.evaluation.evaluate import Split
from model_training.evaluation.evaluate import evaluate as evaluate_split
from model_training.evaluation.out_of_fold import answer_out_of_fold
from model_training.release.export import export_bundle
from model_training.reporting.report import write_report
from model_training.training.experiment import Experiment


@command
def area(
    run: RunOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """First stage: train the lesion area attention module. The same command resumes an interrupted run."""
    make_run(config, set_, data, cache, run).train_area()


@command
def recognition(
    run: RunOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Second stage: train everything else on the first stage's crops. The same command resumes."""
    make_run(config, set_, data, cache, run).train_recognition()


@command
def evaluate(
    run: RunOption,
    split: Annotated[str, typer.Option(help="validation (also fits the temperatures) or test.")] = "validation",
    purpose: Annotated[str, typer.Option(help="Why the test split is read; recorded in the ledger.")] = "",
    force: Annotated[bool, typer.Option(help="Evaluate on images the model has seen, and report the overlap.")] = False,
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Figures of a finished run: AUC, AP, ACC, SE, SP, mask Jaccard, box IoU; predictions for the official scorer."""
    if split not in ("validation", "test"):
        raise ValueError(f"--split is validation or test, not {split}")
    experiment = make_run(config, set_, data, cache, run)
    which: Split = "test" if split == "test" else "validation"
    _print(evaluate_split(experiment, which, ledger=ledger, purpose=purpose, force=force), experiment)


@command
def out_of_fold(
    run: RunOption,
    minutes: MinutesOption = None,
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Fit temperature and thresholds on five networks, each trained without a fifth of the training set. Resumes."""
    deadline = deadline_after(minutes)
    experiment = make_run(config, set_, data, cache, run)
    _print(answer_out_of_fold(experiment, ledger=ledger, deadline=deadline), experiment)


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
    experiment = make_run(config, set_, data, cache, run)
    for path in write_report(experiment, out).files:
        experiment.console.print(str(path), highlight=False)


@command
def export(
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    name: Annotated[
        str | None, typer.Option(help="The model's name; default: cin- and the name of its table, or challenge.")
    ] = None,
    version: Annotated[str, typer.Option(help="The model's version.")] = "1.0.0",
    licence: Annotated[
        str | None, typer.Option(help="Of the weights; default: Apache-2.0 for the challenges, else none stated.")
    ] = None,
    photographs: PhotographsOption = None,
    clinical: ClinicalOption = None,
    other_diagnoses: OtherDiagnosesOption = None,
    figures: FiguresOption = None,
    dirty: Annotated[bool, typer.Option("--dirty", help="Export although the code differs from its commit.")] = False,
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Export a finished, evaluated run as a model bundle, once the graph has passed its gate."""
    experiment = make_run(config, set_, data, cache, run)
    if figures is not None:  # before the test set is read, so that its figures cannot be lost
        figures.parent.mkdir(parents=True, exist_ok=True)
    # Wrong arguments must fail here: the rest takes minutes, and may read the test set.
    folders = Folders(data, experiment.config.data.frame_size, experiment.config.data.copies_jpeg_quality)
    bundle = export_bundle(
        experiment,
        out,
        name=name,
        version=version,
        licence=licence,
        ledger=ledger,
        counted=folders.counted(photographs),
        photographs=folders.photographs(clinical, other_diagnoses),
        dirty=dirty,
    )
    report_abstention(bundle, figures)
    size = sum((bundle.folder / file).stat().st_size for file in bundle.manifest.files)
    experiment.console.print(f"{bundle.folder}: {size / 1e6:.1f} MB, sha256 {bundle.sha256}", highlight=False)


def _print(figures: Mapping[str, float], experiment: Experiment) -> None:
    for name, value in figures.items():
        experiment.console.print(f"{name:45} {value:.4f}", highlight=False)
