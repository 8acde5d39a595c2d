"""``cin-train reproduce`` and ``ablations``: studies of many experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model_training.cli.options import (
    LEDGER,
    CacheOption,
    ConfigOption,
    DataOption,
    LedgerOption,
    MinutesOption,
    ResultsOption,
    RunsOption,
    SetOption,
    app,
    command,
    deadline_after,
    make_experiment,
)
from model_training.data.pictures import DatasetError
from model_training.studies.ablation_report import write_ablation_result
from model_training.studies.ablations import BASE, ablation_result, fold_trials
from model_training.studies.paper_tables import TABLES, Table
from model_training.studies.plan import refuse_other_outcomes, runnable
from model_training.studies.reproduce import table_trials
from model_training.studies.table_report import table_result, write_table_result
from model_training.studies.trials import Trial, TrialError, only, run_trials
from model_training.training.command_line import command_line


@command
def reproduce(
    table: Annotated[list[int] | None, typer.Option(help="1, 2 or 3; all of them when not given.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each system is trained with.")] = 3,
    system: Annotated[list[str] | None, typer.Option(help="Only this system, e.g. cin; may be repeated.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan, and stop: nothing is run or written.")] = False,
    minutes: MinutesOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    ledger: LedgerOption = LEDGER,
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Rerun the paper's tables, system by system and seed by seed; the same command resumes after an interruption."""
    unknown = sorted(set(table or ()) - set(TABLES))
    if unknown:
        raise ValueError(f"there is no table {unknown[0]}; the paper's are {', '.join(map(str, TABLES))}")
    tables = [TABLES[number] for number in table or TABLES]
    template = make_experiment(config, set_, data, cache, runs)
    trials = table_trials(
        tables,
        template,
        results / "trials",
        config=config,
        assignments=set_ or (),
        num_seeds=seeds,
    )
    chosen = only(system or (), trials)
    refuse_other_outcomes(trials)
    deadline = deadline_after(minutes)
    left = runnable(chosen, template.console, timings=template.folder / "timings.json")
    if plan:
        return
    try:
        _run(chosen, left, template.console, ledger=ledger, deadline=deadline)
    finally:
        for each in tables:
            _write_table(each, trials, results, template.console)


@command
def ablations(
    ablation: Annotated[
        list[str] | None,
        typer.Option("--ablation", "--choice", help="Only this ablation, e.g. base; may be repeated."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan, and stop: nothing is run or written.")] = False,
    minutes: MinutesOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Compare settings that the paper leaves open, by five-fold cross-validation on the training set."""
    template = make_experiment(config, set_, data, cache, runs)
    trials = fold_trials(template, results / "trials", config=config, assignments=set_ or ())
    chosen = only(ablation or (), trials)
    refuse_other_outcomes(trials)
    deadline = deadline_after(minutes)
    left = runnable(chosen, template.console, timings=template.folder / "timings.json")
    if all(trial.record() is None and trial not in chosen for trial in trials if trial.variant == BASE):
        template.console.print(f"without {BASE} nothing is compared: add --ablation {BASE}", highlight=False)
    if plan:
        return
    try:
        _run(chosen, left, template.console, ledger=LEDGER, deadline=deadline)
    finally:
        _write_ablations(trials, results, template.console)


# The name in the command lines of earlier results.
app.command("choose", hidden=True)(ablations)


def _run(
    trials: Sequence[Trial], left: Sequence[Trial], console: Console, *, ledger: Path, deadline: float | None
) -> None:
    """Run the trials in ``left``. Raises :class:`TrialError` when some of ``trials`` cannot run here."""
    run_trials(left, console, ledger=ledger, deadline=deadline)
    if unfinished := [trial.name for trial in trials if trial.record() is None]:
        raise TrialError(f"{len(unfinished)} of {len(trials)} trials cannot be run here; the plan says why")


def _write_ablations(trials: Sequence[Trial], results: Path, console: Console) -> None:
    try:
        train = trials[0].experiment.sets.read(trials[0].config.data.train, allow_missing=True)
    except DatasetError as error:
        console.print(f"the ablations are not compared: {error}", highlight=False, markup=False)
    else:
        write_ablation_result(ablation_result(trials, train, command=command_line()), results)


def _write_table(table: Table, trials: Sequence[Trial], results: Path, console: Console) -> None:
    own = [trial for trial in trials if trial.name.startswith(f"{table.challenge.name}/")]
    try:
        test = own[0].experiment.sets.read(own[0].config.data.test, allow_missing=True)
    except DatasetError as error:
        console.print(f"table {table.number} is not written: {error}", highlight=False, markup=False)
    else:
        write_table_result(table_result(table, own, test, command=command_line()), results)
