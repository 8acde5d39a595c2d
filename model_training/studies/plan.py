"""The plan of a study: which trials are finished, which cannot run here, and how long the others will take."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model_training.config import NUM_FOLDS, Config, StageConfig
from model_training.evaluation.leakage import refuse_seen_ids
from model_training.files import write_json
from model_training.network.backbones import DEFAULT_BACKBONE
from model_training.network.lesion_area_attention import LesionAreaAttention
from model_training.studies.timing import time_area_batch, time_recognition_batch
from model_training.studies.trials import Trial, TrialError
from model_training.training.devices import training_precision
from model_training.training.experiment import Experiment
from model_training.training.pretrained import Pretrained, load_pretrained
from model_training.training.recognition import build_network
from model_training.training.run_folder import RunFolder


def runnable(trials: Sequence[Trial], console: Console, *, timings: Path) -> list[Trial]:
    """Print the plan and return the unfinished trials that can run here.

    The remaining time of a started run is estimated from its finished epochs. Other networks are timed for a few steps;
    the JSON file ``timings`` has the results, so each kind is timed once.
    """
    loader = _PretrainedLoader()
    obstacles = {trial.name: _obstacle(trial, loader) for trial in trials if trial.record() is None}
    estimate = _Estimate(timings)
    shown = Table("trial", "epochs done", "minutes left")
    for trial in trials:
        if trial.name not in obstacles:
            shown.add_row(trial.name, "finished", "")
        elif obstacles[trial.name] is not None:
            shown.add_row(trial.name, "cannot be run here", "")
        else:
            with console.status(f"timing a few steps of {trial.name}"):
                minutes = estimate.seconds_left(trial) / 60
            done = len(trial.experiment.recognition_run.read_metrics())
            shown.add_row(trial.name, f"{done} of {trial.config.recognition.epochs}", f"{minutes:.0f}")
    console.print(shown)
    for obstacle in dict.fromkeys(obstacle for obstacle in obstacles.values() if obstacle is not None):
        names = ", ".join(name for name, own in obstacles.items() if own == obstacle)
        console.print(f"{names} cannot be run here: {obstacle}", highlight=False, markup=False)
    left = [trial for trial in trials if trial.name in obstacles and obstacles[trial.name] is None]
    if left or not obstacles:
        console.print(f"about {estimate.total / 3600:.1f} hours left at the speed measured here", highlight=False)
    return left


def refuse_other_outcomes(trials: Sequence[Trial]) -> None:
    """Raise :class:`TrialError` for an outcome with another configuration or other pretrained weights.

    ``trials`` are all trials of a study, not only those that run now, because its tables show every outcome.
    """
    loader = _PretrainedLoader()
    for trial in trials:
        record = trial.record()
        if record is None:
            continue
        try:
            pretrained = loader.load(trial.config.start, trial.config.network.features)
        except ValueError:
            continue  # No trial can run from these weights, so outcomes cannot mix.
        if record.start_sha256 != (pretrained.sha256 if pretrained else None):
            raise TrialError(
                f"{trial.results} is the outcome of another start, {record.start}; set start to that one, or choose "
                "another --results folder"
            )


class _PretrainedLoader:
    """Loads each set of pretrained weights once, and remembers failures."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, str], Pretrained | ValueError | None] = {}

    def load(self, source: str, network: str) -> Pretrained | None:
        """As :func:`load_pretrained`."""
        if (source, network) not in self._loaded:
            try:
                self._loaded[source, network] = load_pretrained(source, network)
            except ValueError as error:
                self._loaded[source, network] = error
        found = self._loaded[source, network]
        if isinstance(found, ValueError):
            raise found
        return found


def _obstacle(trial: Trial, loader: _PretrainedLoader) -> str | None:
    """A known reason why the trial would fail later, else None."""
    try:
        _check_data(trial, loader)
        _check_pretrained(trial.config, loader)
    except ValueError as error:
        return str(error)
    return None


def _check_pretrained(config: Config, loader: _PretrainedLoader) -> None:
    pretrained = loader.load(config.start, config.network.features)
    if pretrained is not None:
        build_network(config.network, num_classes=2).load_pretrained(pretrained.weights)
    # The first stage's encoder is always a ResNet18.
    with_area, start = config.network.lesion_area_attention, config.area_start or config.start
    pretrained = loader.load(start, DEFAULT_BACKBONE) if with_area else None
    if pretrained is not None:
        LesionAreaAttention(input_size=config.network.area_size).load_pretrained(pretrained.weights)


def _check_data(trial: Trial, loader: _PretrainedLoader) -> None:
    experiment, config = trial.experiment, trial.config
    for name in training_set_names(config):
        experiment.sets.read(name)
    if trial.split == "test":
        test, train = experiment.sets.read(config.data.test), experiment.sets.read(config.data.train)
        pretrained = loader.load(config.start, config.network.features)
        seen = {sample.id for sample in train.samples} | set(pretrained.seen if pretrained else ())
        refuse_seen_ids([sample.id for sample in test.samples if sample.id in seen], test.name, len(test.samples))


def training_set_names(config: Config) -> list[str]:
    """The sets that training and validation read."""
    data = config.data
    held_out = data.fold is not None or data.holdout is not None
    names = [data.train, data.area_train, None if held_out else data.validation]
    return list(dict.fromkeys(name for name in names if name is not None))


def _num_training_pictures(experiment: Experiment) -> int:
    """The approximate number of training images; decodes none."""
    data = experiment.config.data
    num = len(experiment.sets.read(data.train).samples)
    return round(num * (1 - (1 / NUM_FOLDS if data.fold is not None else data.holdout or 0)))


class _Estimate:
    """Times every kind of network once; a shared first stage counts for the first trial that needs it."""

    def __init__(self, timings: Path) -> None:
        self.total = 0.0
        self._file = timings
        self._timings: dict[str, float] = json.loads(timings.read_text(encoding="utf-8")) if timings.is_file() else {}
        self._areas: set[Path] = set()

    def seconds_left(self, trial: Trial) -> float:
        config, experiment = trial.config, trial.experiment
        num_pictures = _num_training_pictures(experiment)
        left = self._left(config, experiment.recognition_run, config.recognition, num_pictures, time_recognition_batch)
        for first in experiment.first_stages() if config.network.lesion_area_attention else []:
            if first.area_run.path not in self._areas:
                self._areas.add(first.area_run.path)
                left += self._left(config, first.area_run, config.area, _num_training_pictures(first), time_area_batch)
        self.total += left
        return left

    def _left(
        self,
        config: Config,
        run: RunFolder,
        stage: StageConfig,
        num_pictures: int,
        time_batch: Callable[[Config], float],
    ) -> float:
        done = [epoch["seconds"] for epoch in run.read_metrics()]
        epochs = stage.epochs - len(done)
        if epochs <= 0:
            return 0.0
        if done:
            return epochs * float(np.mean(done))
        kind = f"{time_batch.__name__} {training_precision(config)} {config.network} {stage}"
        if kind not in self._timings:
            self._timings[kind] = time_batch(config)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, self._timings)
        return self._timings[kind] * epochs * max(1, num_pictures // stage.batch_size)
