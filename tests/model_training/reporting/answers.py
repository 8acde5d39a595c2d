"""Answers made to be known, and what a card takes from a manifest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from model_training.arrays import Scores
from model_training.data.isic import CLASSES_2017, DIAGNOSES
from model_training.reporting.judgement import Answers
from service.bundle import Provenance


def answers_of(
    branches_NBK: Scores,
    labels: list[int],
    temperature: tuple[float, ...] = (1.0, 1.0),
    log_prevalence: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> Answers:
    """A tenth of the usual bootstrap samples, which take most of the time."""
    diagnoses = tuple(DIAGNOSES[name] for name in CLASSES_2017)
    return Answers(diagnoses, np.array(labels), branches_NBK, np.array(temperature), np.array(log_prevalence))


def random_answers(num: int = 90, *, seed: int = 0, same_branches: bool = False) -> Answers:
    """Answers that are right more often than not, the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    logits = rng.normal(size=(num, 2, 3)) + 1.5 * np.eye(3)[labels][:, None]
    if same_branches:
        logits[:, 1] = logits[:, 0]
    powers = np.exp(logits)
    return answers_of(powers / powers.sum(axis=2, keepdims=True), labels.tolist())


def fields_of_a_manifest(data: dict[str, str]) -> dict[str, Any]:
    """What the card takes from a manifest."""
    provenance = Provenance(
        git_commit="0" * 40,
        created_at=datetime.now(UTC),
        start="some start",
        data=data,
        seeds=[0],
        config={"export": {"git_commit": "1" * 40}},
        metrics={"held-out": {"mean_auc": 0.75}},
    )
    return {
        "name": "a-model",
        "version": "1.0.0",
        "licence": "Apache-2.0",
        "intended_use": "Research.",
        "classes": [],
        "temperature": [1.0, 1.0],
        "prevalence": {"melanoma": 0.2, "seborrheic_keratosis": 0.1, "nevus": 0.7},
        "provenance": provenance,
        "variants": [],
    }
