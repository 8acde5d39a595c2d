"""The plots of a report as PNG files: one column of axes per set, validation first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, precision_recall_curve, roc_curve

from model_training.arrays import Scores
from model_training.evaluation.calibration import reliability
from model_training.evaluation.statistics import risk_coverage
from model_training.files import replace_atomically
from model_training.reporting.judgement import Answers
from model_training.reporting.text import with_interval

INCHES, DOTS_PER_INCH = 4.6, 110
GREY = "0.6"

# Draws one set into one pair of axes, from its answers and its judgement.
Draw = Callable[[Axes, Answers, Mapping[str, Any]], None]


def draw_plots(sets: Mapping[str, Answers], judgement: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every plot into ``folder``; returns the files."""
    return [_draw(sets, judgement, draw, folder / f"{name}.png") for name, draw in PLOTS.items()]


def _draw(sets: Mapping[str, Answers], judgement: Mapping[str, Any], draw: Draw, path: Path) -> Path:
    figure = Figure(figsize=(INCHES * len(sets), INCHES), dpi=DOTS_PER_INCH, layout="constrained")
    for axes, (name, answers) in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True):
        draw(axes, answers, judgement[name])
        axes.set_title(f"{name} ({len(answers.labels)} images)", fontsize=10)
    # No version or date, so that the same figures give the same file.
    metadata = {"Software": None}
    replace_atomically(path, lambda scratch: figure.savefig(scratch, format="png", metadata=metadata))
    return path


def _tasks(answers: Answers) -> list[tuple[str, str, Scores, Scores]]:
    """Key, display name, truth and probability of each scored class."""
    return [
        (answers.classes[k], answers.classes[k].replace("_", " "), answers.labels == k, answers.probabilities[:, k])
        for k in answers.scored
    ]


def _roc(axes: Axes, answers: Answers, judgement: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for key, name, truth, scores in _tasks(answers):
        false_positive, true_positive, _ = roc_curve(truth, scores, drop_intermediate=False)
        auc = with_interval(judgement["discrimination"][key]["auc"])
        axes.plot(false_positive, true_positive, label=f"{name}, AUC {auc}")
    for point, marker in zip(judgement["operating_points"], "osD^v", strict=False):
        place = (1 - point["specificity"]["value"], point["sensitivity"]["value"])
        label = f"{point['name']} ({place[1]:.2f} / {1 - place[0]:.2f})"
        axes.plot(*place, marker, color="black", markersize=5, label=label)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower right", fontsize=7, title="operating points: SE / SP", title_fontsize=7)


def _precision_recall(axes: Axes, answers: Answers, judgement: Mapping[str, Any]) -> None:
    for key, name, truth, scores in _tasks(answers):
        precision, recall, _ = precision_recall_curve(truth, scores)
        average = with_interval(judgement["discrimination"][key]["ap"])
        (line,) = axes.step(recall, precision, where="post", label=f"{name}, AP {average}")
        axes.axhline(truth.mean(), color=line.get_color(), linewidth=1, linestyle="--")
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower left", fontsize=7, title="dashed: share of the class", title_fontsize=7)


def _reliability(axes: Axes, answers: Answers, judgement: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for when, probabilities in (("before", answers.uncalibrated), ("after", answers.probabilities)):
        correct = probabilities.argmax(axis=1) == answers.labels
        bins = np.array(reliability(probabilities.max(axis=1), correct))
        error = judgement["calibration"][when]["calibration_error"]["value"]
        axes.plot(bins[:, 1], bins[:, 2], linewidth=1, alpha=0.7)
        colour = axes.lines[-1].get_color()
        axes.scatter(bins[:, 1], bins[:, 2], s=400 * bins[:, 0], color=colour, alpha=0.5, linewidth=0)
        axes.plot([], [], "o-", color=colour, label=f"{when} calibration, ECE {error:.3f}")
    axes.set(xlabel="highest probability", ylabel="accuracy", xlim=(0.3, 1), ylim=(0, 1.03))
    axes.legend(loc="lower right", fontsize=7, title="area of a dot: share of the images", title_fontsize=7)


def _confusion(axes: Axes, answers: Answers, _: Mapping[str, Any]) -> None:
    names = [name.replace("_", "\n") for name in answers.classes]
    ConfusionMatrixDisplay.from_predictions(
        answers.labels,
        answers.probabilities.argmax(axis=1),
        labels=range(len(names)),
        display_labels=names,
        cmap="Blues",
        colorbar=False,
        ax=axes,
    )
    axes.set(xlabel="class of highest probability", ylabel="truth")


def _risk_coverage(axes: Axes, answers: Answers, _: Mapping[str, Any]) -> None:
    signs = {"1 - max p": answers.confidence}
    if answers.disagreement is not None:
        signs["branch disagreement"] = -answers.disagreement
    coverage = np.arange(1, len(answers.labels) + 1) / len(answers.labels)
    axes.axhline(answers.wrong.mean(), color=GREY, linewidth=1, linestyle="--", label="all answers")
    for name, confidence in signs.items():
        risk = risk_coverage(answers.wrong, confidence)
        axes.plot(coverage, risk, label=f"by {name}, area {risk.mean():.3f}")
    axes.set(xlabel="coverage: share of images answered", ylabel="risk: share of wrong answers", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", fontsize=7)


PLOTS: Mapping[str, Draw] = {
    "roc": _roc,
    "precision-recall": _precision_recall,
    "reliability": _reliability,
    "confusion": _confusion,
    "risk-coverage": _risk_coverage,
}
