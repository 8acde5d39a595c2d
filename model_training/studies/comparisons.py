"""Systems compared on the same test images, seed by seed and over all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from model_training.arrays import Indices, Scores
from model_training.evaluation.evaluate import classification_figures
from model_training.evaluation.predictions import scored_classes
from model_training.evaluation.statistics import NUM_RESAMPLES, delong_test, stratified_resamples
from model_training.studies.paper_tables import Row
from model_training.studies.trials import TrialRecord


def against(
    reference: str | None,
    row: Row,
    finished: Mapping[str, list[tuple[TrialRecord, Scores]]],
    labels_N: Indices,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Paired comparisons with ``reference``, for every seed that both systems have, then for these seeds together.

    Of one seed: a DeLong test of each task's AUC, unless the set has fewer than two images of an outcome; for the mean
    AUC, which has no such test, a bootstrap interval. Of several seeds, whose ``seed`` is None: bootstrap intervals.
    """
    if reference is None or row.system in (None, reference):
        return []
    base = {record.seed: scores for record, scores in finished.get(reference, [])}
    pairs = {r.seed: (scores, base[r.seed]) for r, scores in finished.get(row.system or "", []) if r.seed in base}
    scored = [k for k in scored_classes(classes) if min((labels_N == k).sum(), (labels_N != k).sum()) > 0]
    names = [f"{classes[k]}_auc" for k in scored]
    if len(scored) == len(scored_classes(classes)) > 1:
        names.append("mean_auc")
    tests = []
    for seed, (ours, others) in pairs.items():
        for k in scored:
            if min((labels_N == k).sum(), (labels_N != k).sum()) > 1:
                test = delong_test(labels_N == k, ours[:, k], others[:, k])
                tests.append({"seed": seed, "task": classes[k], **asdict(test)})
        if "mean_auc" in names:
            tests += gains(["mean_auc"], [(ours, others)], seed, labels_N, classes)
    if len(pairs) > 1:
        tests += gains(names, list(pairs.values()), None, labels_N, classes)
    return tests


def gains(
    names: Sequence[str],
    pairs: Sequence[tuple[Scores, Scores]],
    seed: int | None,
    labels_N: Indices,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """For each figure, the gain of our scores [N, K] over the others', as mean over the S pairs, one of each seed.

    Its 95 % interval is over stratified resamples of the images, each with S of the pairs drawn with replacement.
    """

    def at(chosen_N: Indices) -> Scores:
        every = [[classification_figures(labels_N[chosen_N], s[chosen_N], classes) for s in pair] for pair in pairs]
        return np.array([[ours[name] - others[name] for name in names] for ours, others in every])

    chance = np.random.default_rng(0)
    resampled = [
        at(chosen_N)[chance.integers(len(pairs), size=len(pairs))].mean(axis=0)
        for chosen_N in stratified_resamples(labels_N, NUM_RESAMPLES, seed=0)
    ]
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    columns = zip(names, at(np.arange(len(labels_N))).mean(axis=0), low, high, strict=True)
    return [
        {
            "seed": seed,
            "task": name.removesuffix("_auc"),
            "difference": float(gain),
            "low": float(least),
            "high": float(most),
            "p": None,
        }
        for name, gain, least, most in columns
    ]
