"""How the second stage begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from model_training.config import ConfigError, RecognitionConfig, load_config
from model_training.network.lesion_area_attention import whole_images
from model_training.training.optimisation import parameter_groups
from model_training.training.recognition import RecognitionStage, build_network
from tests.model_training.small_runs import CONFIG, REGRESSION, small_frames


def stage_of(settings: RecognitionConfig = CONFIG.recognition, **network: Any) -> RecognitionStage:
    frames = small_frames()
    areas = whole_images(len(frames))
    return RecognitionStage(
        settings=settings,
        network=CONFIG.network.model_copy(update={"classifier_layers": 1, **network}),
        pretrained=None,
        train=frames,
        validation=frames,
        train_areas=areas,
        validation_areas=areas,
        seed=0,
        device=torch.device("cpu"),
    )


def least_auc(stage: RecognitionStage) -> float:
    """On the training images, which validate here."""
    with torch.no_grad():
        return min(value for name, value in stage.validate().items() if name.startswith("auc"))


@pytest.mark.parametrize("features", ["last", "all"])
def test_a_regression_knows_the_training_images_before_the_first_step(features: str) -> None:
    stage = stage_of(classifier_features=features, classifier_start="regression")
    stage.start()
    assert least_auc(stage) == 1.0
    at_random = stage_of(classifier_features=features)
    at_random.start()
    assert least_auc(at_random) < 1.0


def test_what_only_the_loss_needs_is_not_in_the_weights() -> None:
    steady = stage_of(CONFIG.recognition.model_copy(update={"variation_penalty": 1.0}), **REGRESSION)
    steady.start()
    variations = {name: value for name, value in steady.module.state_dict().items() if name.endswith("variation")}
    assert len(variations) == len(steady.module.branches)
    assert all(value.abs().max() > 0 for value in variations.values())
    steady.finish()
    build_network(CONFIG.network.model_copy(update=REGRESSION), 3).load_state_dict(steady.module.state_dict())


def test_a_classifier_that_starts_as_a_regression_learns_as_slowly_as_pretrained_layers() -> None:
    for start, slow in (("regression", True), ("random", False)):
        module = stage_of(classifier_start=start).module
        pretrained, _ = parameter_groups(module, 10.0)
        layer = module.own_branches()[0].classify[0]
        assert isinstance(layer, nn.Linear)
        assert (id(layer.weight) in {id(parameter) for parameter in pretrained["params"]}) == slow


def test_the_second_branch_may_keep_its_features() -> None:
    settings = CONFIG.recognition.model_copy(update={"frozen_branch": True})
    first, second = stage_of(settings=settings).module.train().own_branches()
    assert all(parameter.requires_grad for parameter in first.features.parameters())
    assert not any(parameter.requires_grad for parameter in second.features.parameters())
    norms = [module for module in second.features.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(parameter.requires_grad for parameter in second.classify.parameters())


def test_only_a_regression_is_penalised_for_variation() -> None:
    with pytest.raises(ConfigError, match="classifier_start = 'regression'"):
        load_config(None, ["recognition.variation_penalty=0.3"])


def test_a_single_branch_has_no_second_one_to_keep() -> None:
    with pytest.raises(ConfigError, match="frozen_branch needs a second branch"):
        load_config(None, ["network.branches=single", "network.distinguish=false", "recognition.frozen_branch=true"])
