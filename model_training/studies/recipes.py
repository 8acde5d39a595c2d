"""Whole recipes of training, as changes of the tables' configuration; ``ablations.py`` compares them."""

from __future__ import annotations

# Modules in the forms that act in their controls, on images that all lie in the same way: docs/modules.md.
ACTING_MODULES = (
    "precision=bf16-mixed",
    "network.attention=cosine",
    "network.attention_start=1",
    "network.distinguish_initialisation=he",
    "network.distinguish_norm=input",
    "network.classifier_features=all",
    "network.classifier_layers=1",
    "network.classifier_start=regression",
    "network.crop_margin=0.25",
    "network.canonical_orientation=true",
    "area.artefacts=0.5",
    "recognition.artefacts=0.5",
    "recognition.augmentation=strong",
    "recognition.distinguish_weight=0.1",
)
ACTING_RECIPE = (
    *ACTING_MODULES,
    "recognition.epochs=24",
    "recognition.frozen_blocks=2",
    "recognition.frozen_branch=true",
    "recognition.new_module_rate=3",
)
# Only the last residual block learns, with the modules; all others keep their ImageNet weights.
LESION_RECIPE = (
    *ACTING_MODULES,
    "network.lesion_pooling=true",
    "network.second_view=whole",
    "area.cross_fit=true",
    "recognition.epochs=4",
    "recognition.frozen_blocks=7",
    "recognition.learning_rate=3e-4",
)
# The classifiers' regressions are also penalised for what changed copies of an image do to their logits, and both they
# and the pretrained layers learn more slowly.
STEADY_RECIPE = (
    *LESION_RECIPE,
    "recognition.learning_rate=1e-4",
    "recognition.new_module_rate=3",
    "recognition.regression_penalty=0.03",
    "recognition.variation_penalty=0.3",
)
