"""The shipped model compared with the rows of Tables 1 and 3, with the same class prior in all probabilities.

    python -m model_training.studies.training_mix --data data

The tables' rows assume equally likely classes, the shipped model's probabilities the class shares of the training set;
that changes the ranking of the images. This compares both with the training set's shares, and gives the figures of the
releases with equally likely classes. It reads the answers in ``results/``; no model is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from model_training.arrays import Indices, Scores
from model_training.data.isic import CLASSES_2017, SCORED_2017, read_set
from model_training.evaluation.predictions import read_predictions
from model_training.evaluation.statistics import NUM_RESAMPLES, stratified_resamples
from model_training.files import write_text
from model_training.metrics import class_aucs

SHIPPED = "cin-isic2017-2.1.0"
WITH_BRANCHES = ("cin-isic2017-1.2.0", "cin-isic2017-1.4.0", SHIPPED)


def with_prior(probabilities_NK: Scores, prior_K: Scores) -> Scores:
    """Multiply probabilities by a class prior and normalise (Bayes' rule); ``1 / prior`` removes it."""
    weighted = probabilities_NK * prior_K
    normalised: Scores = weighted / weighted.sum(axis=-1, keepdims=True)
    return normalised


def training_mix_result(results: Path, data: Path) -> dict[str, Any]:
    """Everything in ``training-mix.json``; intervals are 95 %, by stratified bootstrap over the test images."""
    counts = json.loads((results / SHIPPED / "figures.json").read_text(encoding="utf-8"))["pictures"]["isic2017-train"]
    prior = np.array([counts[name] for name in CLASSES_2017]) / sum(counts.values())
    ids, release = read_predictions(results / SHIPPED / "test-predictions.csv", CLASSES_2017)
    truth = _labels(data, "test", ids)
    resamples = [np.arange(len(truth)), *stratified_resamples(truth, NUM_RESAMPLES, seed=0)]
    release_means = np.array([class_aucs(truth[r], release[r], SCORED_2017).mean() for r in resamples])
    rows = []
    for folder in sorted((results / "trials" / "isic2017").iterdir()):
        same, answers = read_predictions(folder / "seed-0" / "predictions.csv", CLASSES_2017)
        if same != ids:
            raise ValueError(f"{folder} is about other images than {SHIPPED}")
        mixed = with_prior(answers, prior)
        gains = release_means - [class_aucs(truth[r], mixed[r], SCORED_2017).mean() for r in resamples]
        low, high = np.percentile(gains[1:], [2.5, 97.5])
        melanoma, keratosis = class_aucs(truth, mixed, SCORED_2017)
        rows.append(
            {
                "system": folder.name,
                "melanoma_auc": float(melanoma),
                "seborrheic_keratosis_auc": float(keratosis),
                "release_minus_this": {"value": float(gains[0]), "low": float(low), "high": float(high)},
            }
        )
    equal = {
        name: {split: _equal_prior_auc(results / name, data, split, prior) for split in ("validation", "test")}
        for name in WITH_BRANCHES
    }
    return {
        "command": "python -m model_training.studies.training_mix",
        "release": SHIPPED,
        "rows": rows,
        "mean_auc_with_equal_classes": equal,
    }


def _equal_prior_auc(release: Path, data: Path, split: str, prior_K: Scores) -> float:
    """Mean AUC of a release, with the prior removed from each branch."""
    ids, _ = read_predictions(release / f"{split}-predictions.csv", CLASSES_2017)
    table = np.genfromtxt(release / f"{split}-branches.csv", str, delimiter=",")[1:]
    if table[:, 0].tolist() != ids:
        raise ValueError(f"{release}: branches and predictions of {split} are about different images")
    branches_NBK = table[:, 1:].astype(np.float64).reshape(len(ids), -1, len(CLASSES_2017))
    equal = with_prior(branches_NBK, 1 / prior_K).mean(axis=1)
    return float(class_aucs(_labels(data, split, ids), equal, SCORED_2017).mean())


def _labels(data: Path, split: str, ids: list[str]) -> Indices:
    labels = {s.id: s.label for s in read_set(data, f"isic2017-{split}", allow_missing=True).samples}
    return np.array([labels[id] for id in ids])


def main(
    data: Annotated[Path, typer.Option(help="Folder with isic2017/.")] = Path("data"),
    results: Annotated[Path, typer.Option(help="Folder of the kept answers; training-mix.json goes there.")] = Path(
        "results"
    ),
) -> None:
    """Write ``training-mix.json``."""
    write_text(results / "training-mix.json", json.dumps(training_mix_result(results, data), indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
