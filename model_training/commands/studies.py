"""``cin-train reproduce`` and ``choose``: many experiments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from model_training.choices import choices_result, fold_trials, write_choices_result
from model_training.commands.options import (
    LEDGER,
    CacheOption,
    ConfigOption,
    DataOption,
    LedgerOption,
    MinutesOption,
    ResultsOption,
    RunsOption,
    SetOption,
    command,
    command_line,
    make_experiment,
)
from model_training.data.isic import read_set
from model_training.experiment import Experiment
from model_training.reporting.table_report import table_result, write_table_result
from model_training.reproduce import table_trials
from model_training.tables import TABLES
from model_training.trials import Trial, only, print_plan, run_trials


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
    _refuse_other_configurations(trials)
    try:
        _run_or_plan(chosen, template, plan=plan, minutes=minutes, ledger=ledger)
    finally:
        for each in tables:
            own = [trial for trial in trials if trial.name.startswith(f"{each.challenge.name}/")]
            test = read_set(data, own[0].config.data.test, allow_missing=True)
            write_table_result(table_result(each, own, test, command=command_line()), results)


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
    template = make_experiment(config, set_, data, cache, runs)
    trials = fold_trials(template, results / "trials", config=config, assignments=set_ or ())
    chosen = only(choice or (), trials)
    _refuse_other_configurations(trials)
    try:
        _run_or_plan(chosen, template, plan=plan, minutes=minutes, ledger=LEDGER)
    finally:
        write_choices_result(choices_result(trials, command=command_line()), results)


def _refuse_other_configurations(trials: Sequence[Trial]) -> None:
    """Now, and not after hours of training; the tables show every outcome, not only those that are asked for."""
    for trial in trials:
        trial.record()


def _run_or_plan(
    trials: Sequence[Trial], template: Experiment, *, plan: bool, minutes: float | None, ledger: Path
) -> None:
    if plan:
        print_plan(trials, template.console)
        return
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    run_trials(trials, template.console, ledger=ledger, deadline=deadline)
