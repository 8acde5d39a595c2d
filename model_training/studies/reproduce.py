"""The trials behind the paper's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from model_training.config import load_config
from model_training.studies.paper_tables import SYSTEMS, Table
from model_training.studies.trials import Trial
from model_training.training.experiment import Experiment

# Like the paper: probabilities for the class prevalence that the weighted loss implies.
_AS_PRINTED = "evaluation.prevalence=balanced"


def table_trials(
    tables: Iterable[Table],
    template: Experiment,
    results: Path,
    *,
    config: Path | None,
    assignments: Sequence[str],
    num_seeds: int,
) -> list[Trial]:
    """The trials of these tables without duplicates, one seed after the other.

    Every trial is ``template`` with its own configuration and folder; the systems of a seed share the first stage.
    """
    tables = list(tables)
    trials: dict[str, Trial] = {}
    for seed in range(num_seeds):
        for table in tables:
            for system in table.systems():
                name = f"{table.challenge.name}/{system}/seed-{seed}"
                own = [*assignments, _AS_PRINTED, *table.challenge.assignments, *SYSTEMS[system], f"seed={seed}"]
                first_stage = template.folder / table.challenge.name / "lesion-area" / f"seed-{seed}"
                experiment = replace(
                    template,
                    config=load_config(config, own),
                    folder=template.folder / name,
                    area_folder=first_stage,
                    folds_folder=first_stage / "folds",
                )
                trials.setdefault(name, Trial(name, experiment, "test", results / name))
    return list(trials.values())
