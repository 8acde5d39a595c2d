"""The report of a finished run: figures, plots and checklist, in one folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_training.arrays import Indices
from model_training.data.frames import FrameSet
from model_training.evaluation.evaluate import EVALUATIONS, read_calibration, read_report
from model_training.evaluation.groups import groups_of
from model_training.files import write_json, write_text
from model_training.reporting.clear_derm import clear_derm
from model_training.reporting.judgement import Answers, judge, read_answers
from model_training.training.command_line import command_line
from model_training.training.experiment import Experiment
from model_training.training.run_folder import RunError

FIGURES_NAME = "figures.json"
CHECKLIST_NAME = "CLEAR_DERM.md"


@dataclass(frozen=True)
class Report:
    """The written files, and the judgement in them."""

    files: tuple[Path, ...]
    judgement: dict[str, Any]


def write_report(experiment: Experiment, folder: Path) -> Report:
    """Write ``figures.json``, the plots and ``CLEAR_DERM.md`` about an evaluated run into ``folder``.

    The test split is included if it was evaluated. Raises ``RunError`` if the validation split was not.
    """
    from model_training.reporting.plots import draw_plots  # takes seconds to import

    sets, seen = _evaluated_sets(experiment)
    training = experiment.training_sets()[0]
    weights = _attention_weights(experiment, len(training.classes))
    judgement = judge(sets, choose_rule=read_report(experiment, "out-of-fold") is not None)
    for name, overlap in seen.items():
        judgement[name]["seen_in_training"] = {key: len(ids) for key, ids in overlap.items()}
    about = experiment.recognition_run.read_json("run.json")
    counts = {training.name: _count(training.classes, training.labels)}
    counts |= {name: _count(answers.classes, answers.labels) for name, answers in sets.items()}
    folder.mkdir(parents=True, exist_ok=True)
    figures, checklist = folder / FIGURES_NAME, folder / CHECKLIST_NAME
    origin = {key: about[key] for key in ("start", "machine", "git_commit", "data")}
    fields = {"command": command_line(), **origin, "pictures": counts, "attention_weights": weights, "sets": judgement}
    write_json(figures, fields)
    write_text(checklist, clear_derm(experiment.config, start=about["start"], counts=counts, judgement=judgement))
    return Report((figures, checklist, *draw_plots(sets, judgement, folder)), judgement)


def _evaluated_sets(experiment: Experiment) -> tuple[dict[str, Answers], dict[str, dict[str, list[str]]]]:
    """The answers on the evaluated sets, and the ids seen in training, both by set.

    Raises ``RunError`` for a test set with other classes than the model's, because the temperature does not fit it, and
    for a set whose images are others now.
    """
    calibration = read_calibration(experiment)
    found: dict[str, Answers] = {}
    seen: dict[str, dict[str, list[str]]] = {}
    for split in EVALUATIONS:
        report = read_report(experiment, split)
        if report is not None:
            name = report["set"]
            if split == "test" and experiment.sets.classes(name) != experiment.diagnoses():
                raise RunError(
                    f"{name} has other classes than the model, which cannot be judged by it; set data.test to a set of "
                    "its own and run: cin-train evaluate --split test"
                )
            answers = read_answers(experiment.evaluation(split), calibration, experiment.diagnoses())
            images = evaluated_images(experiment, split)
            if images.digest != report["digest"]:
                raise RunError(f"{name} has changed since it was evaluated; evaluate that split again")
            found[name] = replace(answers, groups=groups_of(images))
            seen[name] = report["seen_in_training"]
    return found, seen


def evaluated_images(experiment: Experiment, split: str) -> FrameSet:
    """The images of an evaluation, in the order of its answers."""
    if split == "test":
        return experiment.frames(experiment.config.data.test)
    return experiment.training_sets()[0 if split == "out-of-fold" else 1]


def _attention_weights(experiment: Experiment, num_classes: int) -> list[dict[str, float]]:
    """Alpha and beta of Eqn 3 in each branch: the weights of the lesion feature attention."""
    attentions = [branch.attention for branch in experiment.recognition_network(num_classes).own_branches()]
    return [{"alpha": a.alpha.item(), "beta": a.beta.item()} for a in attentions if a is not None]


def _count(classes: tuple[str, ...], labels_N: Indices) -> dict[str, int]:
    return dict(zip(classes, np.bincount(labels_N, minlength=len(classes)).tolist(), strict=True))
