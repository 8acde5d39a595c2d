"""Optimisers and learning-rate schedules of both training stages."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from model_training.config import StageConfig
from model_training.network.cin import Branch
from model_training.network.stages import Stages


def learning_rate(settings: StageConfig, epoch: int, done: float) -> float:
    """The learning rate when the share ``done`` (0..1) of ``epoch`` is finished."""
    if settings.schedule == "step":
        return settings.learning_rate * 0.1 ** (epoch // settings.decay_every)
    position = (epoch + done) / settings.epochs
    warm_up = 0.1
    if position < warm_up:
        return settings.learning_rate * max(position / warm_up, 0.01)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (position - warm_up) / (1 - warm_up)))


def parameter_groups(module: nn.Module, new_module_rate: float) -> list[dict[str, Any]]:
    """The parameters that require gradients, with their ``rate``, a factor on the learning rate.

    It is 1 for the feature extraction, which has ImageNet weights, and for a classifier that starts as a regression;
    ``new_module_rate`` for all other modules, which have random initial weights.
    """
    started: list[nn.Module] = [part for part in module.modules() if isinstance(part, Stages)]
    started += [part.classify for part in module.modules() if isinstance(part, Branch) and part.start == "regression"]
    pretrained = {id(parameter) for part in started for parameter in part.parameters()}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if new_module_rate == 1:
        return [{"params": trained, "rate": 1.0}]
    return [
        {"params": [p for p in trained if id(p) in pretrained], "rate": 1.0},
        {"params": [p for p in trained if id(p) not in pretrained], "rate": new_module_rate},
    ]


def make_optimiser(module: nn.Module, settings: StageConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, or AdamW, over the parameters that require gradients."""
    parameters = parameter_groups(module, settings.new_module_rate)
    fused = torch.cuda.is_available()
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            settings.learning_rate,
            momentum=0.9,
            weight_decay=settings.weight_decay,
            nesterov=True,
            fused=fused,
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)
