"""Options and error handling shared by the commands of ``cin-train``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console

from model_training.config import load_config
from model_training.files import Interrupted
from model_training.training.experiment import Experiment
from model_training.training.run_folder import recorded_config
from model_training.training.trainer import TrainingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train the Clinical-Inspired Network and export it. The order: prepare, area, recognition, evaluate, export.",
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file; without it what --run recorded, or the paper's protocol."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. network.size=224."),
]
DataOption = Annotated[
    Path, typer.Option("--data", envvar="CIN_DATA", help="Folder that holds isic2016/, isic2017/ and own tables.")
]
CacheOption = Annotated[
    Path, typer.Option("--cache", envvar="CIN_CACHE", help="Folder for decoded images, shared by runs.")
]
RunOption = Annotated[Path, typer.Option("--run", help="Folder of this experiment; one experiment, one folder.")]

LedgerOption = Annotated[Path, typer.Option(help="File that records every reading of the test split.")]
RunsOption = Annotated[Path, typer.Option(help="Folder for the checkpoints of the trials.")]
ResultsOption = Annotated[Path, typer.Option(help="Folder for outcomes and tables.")]
MinutesOption = Annotated[
    float | None, typer.Option(min=0, help="Stop after this many minutes; run the same command again to resume.")
]
PhotographsOption = Annotated[
    str | None, typer.Option(help="Folder below --data with images of anything but dermoscopy.")
]
ClinicalOption = Annotated[
    str | None,
    typer.Option(help="Folder below --data with clinical photographs; half of them show the difference."),
]
OtherDiagnosesOption = Annotated[
    str | None,
    typer.Option(help="Set below --data with labels.csv; half of it limits what is taken for --clinical."),
]
FiguresOption = Annotated[
    Path | None, typer.Option(dir_okay=False, help="File for the limits and the shares that they exclude, .json.")
]
LEDGER = Path("results/test-ledger.jsonl")

P = ParamSpec("P")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a command: known errors end in one line and exit code 1, interruptions in 130."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Interrupted as interruption:
            console().print(str(interruption), highlight=False)
            sys.exit(130)
        except KeyboardInterrupt:
            console().print("stopped; run the same command again to resume", highlight=False)
            sys.exit(130)
        except (ValueError, TrainingError) as error:
            _fail(str(error))
        except OSError as error:
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))

    return app.command()(run)


def _fail(message: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"cin-train: {message}", style="red", highlight=False, markup=False)
    sys.exit(1)


def console() -> Console:
    """The console for a command's output; the terminal wraps long lines."""
    return Console(soft_wrap=True)


def deadline_after(minutes: float | None) -> float | None:
    """When to stop, by ``time.monotonic``; None: never."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def make_experiment(
    config: Path | None, assignments: list[str] | None, data: Path, cache: Path, run: Path
) -> Experiment:
    """The experiment that the options describe."""
    return Experiment(load_config(config, assignments or ()), data, cache, run, console())


def make_run(config: Path | None, assignments: list[str] | None, data: Path, cache: Path, run: Path) -> Experiment:
    """The experiment in the folder ``run``; without ``config`` as its stages recorded it, where they did."""
    recorded = recorded_config(run) if config is None else None
    return Experiment(load_config(config, assignments or (), recorded=recorded), data, cache, run, console())
