"""Out-of-fold answers: five networks answer the whole training set, each the images it was not trained on.

They are as good as those of the experiment's own network, or slightly worse, and there is one per training image. So
temperature and thresholds depend less on chance than with a small validation set, which then remains held out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model_training.config import NUM_FOLDS
from model_training.evaluation.calibration import fit_calibration
from model_training.evaluation.evaluate import classification_figures, evaluate, log_prevalence, read_calibration
from model_training.evaluation.predictions import (
    read_branches,
    rest_from_scored,
    write_branches,
    write_predictions,
    write_truth,
)
from model_training.files import write_json
from model_training.network.cin import summed_probabilities
from model_training.training.command_line import command_line
from model_training.training.experiment import Experiment


def answer_out_of_fold(experiment: Experiment, *, ledger: Path, deadline: float | None = None) -> dict[str, float]:
    """Train and evaluate the unfinished ones of the five networks, and calibrate the experiment's own.

    Writes ``<run>/evaluation/out-of-fold/``, from which :func:`read_calibration` takes the temperature. Raises
    :class:`Interrupted` at ``deadline`` (``time.monotonic``) and after a signal; the next call resumes.
    """
    folds = [experiment.without_fold(fold) for fold in range(NUM_FOLDS)]
    for fold in folds:
        if fold.config.network.lesion_area_attention:
            fold.train_area(deadline=deadline)
        fold.train_recognition(deadline=deadline)
        evaluate(fold, "validation", ledger=ledger, with_faithfulness=False)
    train = experiment.training_sets()[0]
    answered = dict(pair for fold in folds for pair in _logits(fold).items())
    logits_NBK = torch.stack([answered[id] for id in train.ids])
    calibration = fit_calibration(
        logits_NBK,
        torch.from_numpy(train.labels),
        fitted_at_K=log_prevalence(experiment, train.labels),
        used_at_K=log_prevalence(experiment),
    )
    probabilities_NK, branches_NBK = (each.double().numpy() for each in summed_probabilities(logits_NBK, *calibration))
    scores_NK = rest_from_scored(probabilities_NK, train.classes)
    metrics = {"num_pictures": len(train), **classification_figures(train.labels, scores_NK, train.classes)}
    folder = experiment.evaluation("out-of-fold")
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", train.ids, scores_NK, train.classes)
    write_branches(folder / "branches.csv", train.ids, branches_NBK, train.classes)
    write_truth(folder / "truth.csv", train.ids, train.labels.tolist(), train.classes)
    report = {
        "command": command_line(),
        "set": f"{train.name}, out of fold",
        "digest": train.digest,
        "answered_by": experiment.answered_by(),
        "folds": [fold.answered_by() for fold in folds],
        **calibration.as_lists(),
        "metrics": metrics,
        "seen_in_training": {"same_id": [], "same_pixels": []},
    }
    write_json(folder / "report.json", report)
    return metrics


def _logits(fold: Experiment) -> dict[str, Tensor]:
    """The logits ``[B, K]`` of one network, up to a constant, on its held-out images, by id."""
    ids, _, branches_NBK = read_branches(fold.evaluation("validation") / "branches.csv")
    calibration = read_calibration(fold)
    logs = np.log(np.maximum(branches_NBK, 1e-300)) - calibration.log_prevalence_K.double().numpy()
    logits = torch.from_numpy(logs * calibration.temperature_N.double().numpy()[:, None]).float()
    return dict(zip(ids, logits, strict=True))
