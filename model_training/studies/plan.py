"""What is to be done before trials run: what cannot run here, what is done, and how long the rest will take."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model_training.config import Config, StageConfig
from model_training.data.isic import read_set
from model_training.evaluation.leakage import refuse_seen_ids
from model_training.files import write_json
from model_training.network.feature_extraction import FeatureNetwork
from model_training.network.lesion_area_attention import LesionAreaAttention
from model_training.studies.timing import area_pace, recognition_pace
from model_training.studies.trials import Trial, TrialError
from model_training.training.pretrained import Start, load_start
from model_training.training.recognition import build_network
from model_training.training.run_folder import RunFolder
from model_training.training.trainer import training_precision


def runnable(trials: Sequence[Trial], console: Console, *, paces: Path) -> list[Trial]:
    """Print the plan and return the trials that are left to run and can be run here.

    Of a run that has begun, its own epochs tell the pace. What is timed for others is kept in the file ``paces``, so
    that a command which works in pieces times each kind of network once.
    """
    starts = _Starts()
    obstacles = {trial.name: _obstacle(trial, starts) for trial in trials if trial.record() is None}
    estimate = _Estimate(paces)
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
        console.print(f"about {estimate.total / 3600:.1f} hours left at the pace measured here", highlight=False)
    return left


def refuse_other_outcomes(trials: Sequence[Trial]) -> None:
    """Raise :class:`TrialError` for an outcome that another configuration, or another start, has left.

    Asked of all trials of a study, also of those that are not to run now: its tables show every outcome.
    """
    starts = _Starts()
    for trial in trials:
        record = trial.record()
        if record is None:
            continue
        try:
            start = starts.load(trial.config.start, trial.config.network.features)
        except ValueError:
            continue  # No trial can be run from it, so nothing gets mixed.
        if record.start_sha256 != (start.sha256 if start else None):
            raise TrialError(
                f"{trial.results} is the outcome of another start, {record.start}; set start to that one, or choose "
                "another --results folder"
            )


class _Starts:
    """Every start loaded once, or why it cannot be."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, FeatureNetwork], Start | ValueError | None] = {}

    def load(self, source: str, network: FeatureNetwork) -> Start | None:
        """As :func:`load_start`."""
        if (source, network) not in self._loaded:
            try:
                self._loaded[source, network] = load_start(source, network)
            except ValueError as error:
                self._loaded[source, network] = error
        found = self._loaded[source, network]
        if isinstance(found, ValueError):
            raise found
        return found


def _obstacle(trial: Trial, starts: _Starts) -> str | None:
    """What the trial would fail of after hours, None when nothing is known."""
    try:
        _check_data(trial, starts)
        _check_start(trial.config, starts)
    except ValueError as error:
        return str(error)
    return None


def _check_start(config: Config, starts: _Starts) -> None:
    start = starts.load(config.start, config.network.features)
    if start is not None:
        build_network(config.network, num_classes=2).load_start(start.weights)
    # The first stage's encoder is a ResNet18 whatever the second stage's is.
    start = starts.load(config.start, "resnet18") if config.network.lesion_area_attention else None
    if start is not None:
        LesionAreaAttention(input_size=config.network.area_size).load_start(start.weights)


def _check_data(trial: Trial, starts: _Starts) -> None:
    experiment, config = trial.experiment, trial.config
    for name in experiment.training_set_names():
        read_set(experiment.data, name, allow_missing=config.data.allow_missing)
    if trial.split == "test":
        test = read_set(experiment.data, config.data.test, allow_missing=config.data.allow_missing)
        train = read_set(experiment.data, config.data.train, allow_missing=config.data.allow_missing)
        start = starts.load(config.start, config.network.features)
        seen = {sample.id for sample in train.samples} | set(start.seen if start else ())
        refuse_seen_ids([sample.id for sample in test.samples if sample.id in seen], test.name, len(test.samples))


class _Estimate:
    """Times every kind of network once, and counts a shared first stage in the first trial that needs it."""

    def __init__(self, paces: Path) -> None:
        self.total = 0.0
        self._file = paces
        self._paces: dict[str, float] = json.loads(paces.read_text(encoding="utf-8")) if paces.is_file() else {}
        self._areas: set[Path] = set()

    def seconds_left(self, trial: Trial) -> float:
        config, experiment = trial.config, trial.experiment
        num_pictures = experiment.num_training_pictures()
        left = self._left(config, experiment.recognition_run, config.recognition, num_pictures, recognition_pace)
        if config.network.lesion_area_attention and experiment.area_run.path not in self._areas:
            self._areas.add(experiment.area_run.path)
            left += self._left(config, experiment.area_run, config.area, num_pictures, area_pace)
        self.total += left
        return left

    def _left(
        self, config: Config, run: RunFolder, stage: StageConfig, num_pictures: int, pace: Callable[[Config], float]
    ) -> float:
        done = [epoch["seconds"] for epoch in run.read_metrics()]
        epochs = stage.epochs - len(done)
        if epochs <= 0:
            return 0.0
        if done:
            return epochs * float(np.mean(done))
        kind = f"{pace.__name__} {training_precision(config)} {config.network} {stage}"
        if kind not in self._paces:
            self._paces[kind] = pace(config)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, self._paces)
        return self._paces[kind] * epochs * max(1, num_pictures // stage.batch_size)
