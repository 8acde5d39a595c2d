"""Trials: train one configuration, evaluate it once, and keep the outcome.

The outcome is a folder in ``results/`` with ``predictions.csv``, in the official scorer's format, and ``trial.json``.
A trial with an outcome is finished; an interrupted one resumes from its checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from model_training.config import Config
from model_training.evaluation.evaluate import Split, evaluate
from model_training.files import Interrupted, folder_lock, read_json, write_text
from model_training.network.stages import StateDict
from model_training.training.devices import training_precision
from model_training.training.experiment import Experiment
from model_training.training.run_folder import differences

PREDICTIONS, RECORD = "predictions.csv", "trial.json"


class TrialError(ValueError):
    """The trials cannot run as requested; the text says what to change."""


class TrialRecord(BaseModel):
    """The configuration, provenance and figures of a finished trial."""

    model_config = ConfigDict(extra="forbid")

    name: str
    config: dict[str, Any]
    start: str
    # SHA-256 of the pretrained weights' names and values; None for random weights.
    start_sha256: str | None
    # Of the recognition stage; machines and commits over its start and all resumptions.
    precision: str
    machine: str
    git_commits: list[str]
    # Duration of each stage's epochs, validation included; several trials may share the first stage.
    seconds: dict[str, float]
    # Of the first stage's weights; None without a first stage, and in outcomes older than this field.
    area_sha256: str | None = None
    # The learnt alpha and beta of Eqn 3, and alpha of attention residual blocks.
    attention_weights: dict[str, float] = {}
    # What switching the attention off changes, and how P is used; empty without it, and in older outcomes.
    attention: dict[str, float] = {}
    # Figures on the set that the temperatures were fitted on.
    validation: dict[str, float]
    evaluated_on: str
    digest: str
    metrics: dict[str, float]

    @property
    def input_size(self) -> int:
        """S: side of the network's input in pixels."""
        return int(self.config["network"]["size"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])


def provenance_of(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Input size, weights, machines, precisions, commits and seconds of trials, with all distinct values."""
    texts = {
        key: "; ".join(dict.fromkeys(getattr(record, key) for record in records))
        for key in ("start", "machine", "precision")
    }
    return {
        "input_size": records[0].input_size,
        **texts,
        "git_commits": list(dict.fromkeys(commit for record in records for commit in record.git_commits)),
        "seconds": sum(sum(record.seconds.values()) for record in records),
    }


@dataclass(frozen=True)
class Trial:
    """One configuration to train and to evaluate on ``split``; the outcome goes to the folder ``results``.

    ``name`` is study/variant/repetition, such as ``isic2017/cin/seed-0``.
    """

    name: str
    experiment: Experiment
    split: Split
    results: Path

    @property
    def variant(self) -> str:
        """The system of a table, or the ablation."""
        return variant_of(self.name)

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.experiment.config

    def record(self) -> TrialRecord | None:
        """The outcome; None before the trial has finished. Raises :class:`TrialError` if its configuration differs."""
        path = self.results / RECORD
        if not path.is_file() or not (self.results / PREDICTIONS).is_file():
            return None
        try:
            record = TrialRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrialError(f"{path} is damaged ({error}); restore it, or delete it to run the trial again") from error
        if changed := differences(comparable(Config.model_validate(record.config)), comparable(self.config)):
            raise TrialError(
                f"{path} is the outcome of another configuration ({', '.join(changed)} differ); give the --config that "
                "it was made with, or choose another --results folder"
            )
        if record.precision != (here := training_precision(self.config)):
            raise TrialError(
                f"{path} was trained in {record.precision}, which would be {here} here; set "
                f"precision={record.precision}, or choose another --results folder"
            )
        return record


def attention_weights(weights: StateDict) -> dict[str, float]:
    """The learnt factors of the attention terms, by their names in ``weights``; empty without attention."""
    return {name: float(value) for name, value in weights.items() if name.endswith((".alpha", ".beta"))}


def variant_of(name: str) -> str:
    """The variant in a trial's name."""
    return name.split("/")[1]


def only(variants: Sequence[str], trials: Sequence[Trial]) -> list[Trial]:
    """The trials of ``variants``; all trials if that is empty. Raises :class:`TrialError` for an unknown variant."""
    known = list(dict.fromkeys(trial.variant for trial in trials))
    if unknown := [variant for variant in variants if variant not in known]:
        raise TrialError(f"there is no {', '.join(unknown)}; choose among {', '.join(known)}")
    return [trial for trial in trials if not variants or trial.variant in variants]


def comparable(config: Config) -> dict[str, Any]:
    """The configuration without keys that depend on the machine: the path of the weights, precision, accelerator.

    Keys that are newer than an outcome get their defaults.
    """
    return config.model_dump(mode="json", exclude={"start", "precision", "accelerator"})


def run_trials(trials: Sequence[Trial], console: Console, *, ledger: Path, deadline: float | None = None) -> None:
    """Run the unfinished trials. Locks keep commands that run at the same time from running a trial twice.

    Raises :class:`Interrupted` at ``deadline`` (``time.monotonic``) and after a signal; the next call resumes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrialError(
            "trials run on one device each; instead of torchrun start one command for each GPU, with --system or "
            "--ablation and CUDA_VISIBLE_DEVICES"
        )
    for trial in trials:
        if deadline is not None and time.monotonic() >= deadline:
            raise Interrupted("the time is up; run the same command again to resume")
        folder, notice = trial.experiment.folder, f"waiting for another command that runs {trial.name}"
        waiting = partial(console.print, notice, highlight=False)
        with folder_lock(folder, waiting=waiting, deadline=deadline):
            if trial.record() is None:
                console.rule(trial.name)
                record = run_trial(trial, ledger=ledger, deadline=deadline)
                auc = record.metrics.get("mean_auc")
                figure = "no mean AUC: the set lacks a class" if auc is None else f"mean AUC {auc:.4f}"
                console.print(f"{trial.name}: {figure}", highlight=False)


def run_trial(trial: Trial, *, ledger: Path, deadline: float | None = None) -> TrialRecord:
    """Train the stages that are unfinished, evaluate, and write the outcome."""
    experiment = trial.experiment
    runs = {"recognition": experiment.recognition_run}
    if trial.config.network.lesion_area_attention:
        experiment.train_area(deadline=deadline)
        runs["area"] = experiment.area_run
    experiment.train_recognition(deadline=deadline)
    run = experiment.recognition_run
    about = run.read_json("run.json")
    validation = evaluate(experiment, "validation", ledger=ledger, with_faithfulness=False)
    metrics = validation
    if trial.split == "test":
        metrics = evaluate(experiment, "test", ledger=ledger, purpose=trial.name, with_faithfulness=False)
    evaluated = experiment.evaluation(trial.split)
    report = read_json(evaluated / "report.json", mend="run again: cin-train evaluate")
    record = TrialRecord(
        name=trial.name,
        config=comparable(trial.config),
        start=about["start"],
        start_sha256=about["start_sha256"],
        precision=about["precision"],
        machine="; ".join(run.surroundings("machine")),
        git_commits=run.surroundings("git_commit"),
        seconds={stage: run.training_seconds() for stage, run in runs.items()},
        area_sha256=runs["area"].weights_sha256() if "area" in runs else None,
        attention_weights=attention_weights(run.load_weights(trial.config, "recognition")),
        attention=report["attention"] or {},
        validation=validation,
        evaluated_on=report["set"],
        digest=report["digest"],
        metrics=metrics,
    )
    trial.results.mkdir(parents=True, exist_ok=True)
    write_text(trial.results / PREDICTIONS, (evaluated / PREDICTIONS).read_text(encoding="utf-8"))
    write_text(trial.results / RECORD, record.model_dump_json(indent=2) + "\n")
    return record
