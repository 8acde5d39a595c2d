"""``cin-train``: from the official pictures to a model bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console

from model_training.config import load_config
from model_training.evaluate import evaluate as evaluate_split
from model_training.experiment import Experiment
from model_training.export import export_bundle
from model_training.trainer import Interrupted, TrainingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train the Clinical-Inspired Network and export it. The order: prepare, area, recognition, evaluate, export.",
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of the experiment; without it the paper's protocol."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. network.size=224."),
]
DataOption = Annotated[
    Path, typer.Option("--data", envvar="CIN_DATA", help="Folder that holds isic2016/ and isic2017/.")
]
CacheOption = Annotated[
    Path, typer.Option("--cache", envvar="CIN_CACHE", help="Where decoded pictures are kept between runs.")
]
RunOption = Annotated[Path, typer.Option("--run", help="Folder of this experiment; one experiment, one folder.")]

LEDGER = Path("results/test-ledger.jsonl")

P = ParamSpec("P")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose known errors end in one clear line and exit code 1, an interruption in 130."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Interrupted as interruption:
            _console().print(str(interruption), highlight=False)
            sys.exit(130)
        except (ValueError, TrainingError) as error:
            Console(stderr=True).print(f"cin-train: {error}", style="red", highlight=False, markup=False)
            sys.exit(1)

    return app.command()(run)


def _console() -> Console:
    return Console(soft_wrap=True)


def _experiment(config: Path | None, assignments: list[str] | None, data: Path, cache: Path, run: Path) -> Experiment:
    return Experiment(load_config(config, assignments or ()), data, cache, run, _console())


@command
def prepare(
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Decode the pictures of the training and validation sets once, so that training never has to."""
    experiment = _experiment(config, set_, data, cache, Path())
    for name in (experiment.config.data.train, experiment.config.data.validation):
        frames = experiment.frames(name)
        masks = int(frames.has_mask.sum())
        experiment.console.print(f"{name}: {len(frames)} pictures, {masks} masks, digest {frames.digest[:16]}")


@command
def area(
    run: RunOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """First stage: train the lesion area attention module. The same command resumes an interrupted run."""
    _experiment(config, set_, data, cache, run).train_area()


@command
def recognition(
    run: RunOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Second stage: train everything else on the first stage's crops. The same command resumes."""
    _experiment(config, set_, data, cache, run).train_recognition()


@command
def evaluate(
    run: RunOption,
    split: Annotated[str, typer.Option(help="validation (also fits the temperatures) or test.")] = "validation",
    ledger: Annotated[Path, typer.Option(help="Where every reading of the test split is recorded.")] = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Figures of a finished run: AUC, AP, ACC, SE, SP, mask Jaccard, box IoU; predictions for the official scorer."""
    if split not in ("validation", "test"):
        raise ValueError(f"--split is validation or test, not {split}")
    experiment = _experiment(config, set_, data, cache, run)
    metrics = evaluate_split(experiment, "test" if split == "test" else "validation", ledger=ledger)
    for name, value in metrics.items():
        experiment.console.print(f"{name:45} {value:.4f}", highlight=False)


@command
def export(
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    name: Annotated[str, typer.Option(help="The model's name.")] = "cin-isic2017",
    version: Annotated[str, typer.Option(help="The model's version.")] = "1.0.0",
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Export a finished, evaluated run as a model bundle, once the graph has passed its gate."""
    experiment = _experiment(config, set_, data, cache, run)
    bundle = export_bundle(experiment, out, name=name, version=version)
    size = sum((bundle.folder / file).stat().st_size for file in bundle.manifest.files)
    experiment.console.print(f"{bundle.folder}: {size / 1e6:.1f} MB, sha256 {bundle.sha256}", highlight=False)


def main() -> Any:
    """Entry point of the ``cin-train`` command."""
    return app()
