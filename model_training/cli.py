"""``cin-train``: from the official pictures to a model bundle."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console

from model_training.choices import choices_result, fold_trials, write_choices_result
from model_training.config import load_config
from model_training.data.audit import audit_sets
from model_training.data.audit_report import print_audit
from model_training.data.download import download_challenge
from model_training.data.isic import read_set
from model_training.data.official import BASE_URL
from model_training.evaluate import Split
from model_training.evaluate import evaluate as evaluate_split
from model_training.experiment import Experiment
from model_training.export import export_bundle
from model_training.reproduce import table_trials
from model_training.run_folder import write_text
from model_training.table_report import table_result, write_table_result
from model_training.tables import TABLES
from model_training.trainer import Interrupted, TrainingError
from model_training.trials import Trial, print_plan, run_trials

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

LedgerOption = Annotated[Path, typer.Option(help="Where every reading of the test split is recorded.")]
RunsOption = Annotated[Path, typer.Option(help="Where the checkpoints of the trials are kept.")]
ResultsOption = Annotated[Path, typer.Option(help="Where outcomes and tables are kept.")]
MinutesOption = Annotated[
    float | None, typer.Option(min=0, help="Stop after this long; the same command goes on from there.")
]
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
def download(
    challenge: Annotated[str, typer.Argument(help="isic2016 or isic2017.")],
    data: DataOption = Path("data"),
    base_url: Annotated[
        str, typer.Option(envvar="CIN_DATA_URL", help="Where a mirror has the files, without the year.")
    ] = BASE_URL,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Keep archives once unpacked.")] = False,
    accept_changed: Annotated[
        bool, typer.Option("--accept-changed", help="Take files that are not those known so far.")
    ] = False,
) -> None:
    """Download and unpack the official files of a challenge; the same command goes on after an interruption."""
    try:
        download_challenge(
            challenge,
            data,
            console=_console(),
            base_url=base_url,
            keep_archives=keep_archives,
            accept_changed=accept_changed,
        )
    except KeyboardInterrupt as interruption:
        raise Interrupted("stopped; the same command goes on from there") from interruption


@command
def audit(
    only: Annotated[
        list[str] | None, typer.Option(help="Only this set or challenge, e.g. isic2017-train; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write every finding into this JSON file.")] = None,
    data: DataOption = Path("data"),
) -> None:
    """Look for pictures that sets share, copies, contradicting labels, and what is missing or cannot be decoded."""
    console = _console()
    report = audit_sets(data, only or (), console=console)
    print_audit(report, console)
    if out is not None:
        write_text(out, report.to_json())
        console.print(f"all findings: {out}", highlight=False)


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
    experiment = _experiment(config, set_, data, cache, run)
    which: Split = "test" if split == "test" else "validation"
    metrics = evaluate_split(experiment, which, ledger=ledger, purpose=purpose, force=force)
    for name, value in metrics.items():
        experiment.console.print(f"{name:45} {value:.4f}", highlight=False)


@command
def reproduce(
    table: Annotated[list[int] | None, typer.Option(help="1, 2 or 3; all of them when not given.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each system is trained with.")] = 3,
    system: Annotated[list[str] | None, typer.Option(help="Only this system, e.g. cin; may be repeated.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and the tables so far, and stop.")] = False,
    minutes: MinutesOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Rerun the paper's tables, system by system and seed by seed; the same command goes on after an interruption."""
    unknown = sorted(set(table or ()) - set(TABLES))
    if unknown:
        raise ValueError(f"there is no table {unknown[0]}; the paper's are {', '.join(map(str, TABLES))}")
    tables = [TABLES[number] for number in table or TABLES]
    template = _experiment(config, set_, data, cache, runs)
    trials = table_trials(
        tables,
        template,
        results / "trials",
        config=config,
        assignments=set_ or (),
        systems=system or (),
        num_seeds=seeds,
    )
    try:
        _run_or_plan(trials, template, plan=plan, minutes=minutes, ledger=ledger)
    finally:
        for each in tables:
            own = [trial for trial in trials if trial.name.startswith(f"{each.challenge.name}/")]
            test = read_set(data, own[0].config.data.test, allow_missing=True) if own else None
            if test is not None:
                write_table_result(table_result(each, own, test, command=_command_line()), results)


@command
def choose(
    choice: Annotated[list[str] | None, typer.Option(help="Only this choice, e.g. base; may be repeated.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and the result so far, and stop.")] = False,
    minutes: MinutesOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Decide what the paper leaves open by five-fold cross-validation on the training set."""
    template = _experiment(config, set_, data, cache, runs)
    trials = fold_trials(choice or (), template, results / "trials", config=config, assignments=set_ or ())
    try:
        _run_or_plan(trials, template, plan=plan, minutes=minutes, ledger=LEDGER)
    finally:
        write_choices_result(choices_result(trials, command=_command_line()), results)


def _run_or_plan(
    trials: Sequence[Trial], template: Experiment, *, plan: bool, minutes: float | None, ledger: Path
) -> None:
    if plan:
        print_plan(trials, template.console)
        return
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    run_trials(trials, template.console, ledger=ledger, deadline=deadline)


def _command_line() -> str:
    """This command, without the folders of this machine."""
    words, private = ["cin-train"], {"--data", "--cache", "--runs", "--results", "--ledger"}
    arguments = iter(sys.argv[1:])
    for word in arguments:
        if word in private:
            next(arguments, None)
        elif word.startswith("start="):
            words.append(f"start={Path(word.removeprefix('start=')).name}")
        elif word.endswith(".toml"):
            words.append(Path(word).name)
        else:
            words.append(word)
    return shlex.join(words)


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


if __name__ == "__main__":  # for torchrun
    main()
