"""A regression on the layers' means sees what they hold, and nothing else."""

from __future__ import annotations

import numpy as np

from model_training.studies.classifier_control import RECIPES, classifier_control


def test_what_only_an_early_layer_knows_is_missed_behind_the_last() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    noise = {layer: rng.normal(size=(300, 8)).astype(np.float32) for layer in (1, 2, 3, 4)}
    noise[1][:, 0] += 3 * labels.astype(np.float32)
    held_out = np.arange(300) >= 200
    figures = {name: classifier_control(noise, labels, held_out, layers) for name, layers in RECIPES.items()}
    assert figures["all"]["mean_auc"] > 0.8
    assert figures["early"]["mean_auc"] > 0.8
    assert abs(figures["last"]["mean_auc"] - 0.5) < 0.15
    shuffled = classifier_control(noise, rng.permutation(labels), held_out, RECIPES["all"])
    assert abs(shuffled["mean_auc"] - 0.5) < 0.15
