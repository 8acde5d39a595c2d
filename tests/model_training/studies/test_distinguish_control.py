"""The distinguish module's control: D learns with one recipe, and does not with another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model_training.arrays import Indices
from model_training.data.frames import FrameSet, prepare_frames
from model_training.data.isic import read_set
from model_training.data.splits import folds_of
from model_training.studies.distinguish_control import (
    RECIPES,
    make_distinguish,
    pair_auc,
    regression_pair_auc,
    train_distinguish,
)
from model_training.studies.frozen_features import frozen_features, lesion_boxes
from model_training.training.pretrained import load_pretrained

# ImageNet's weights.
REAL_WIDTHS = True

# Smaller than the networks' input, so that the test takes a minute or two on one core.
SIZE = 128
LEARNS, DOES_NOT = RECIPES["adamw-he-input-norm"], RECIPES["sgd"]


def test_pair_auc_counts_pairs_of_one_class_as_positive() -> None:
    labels, pairs = np.array([0, 0, 1]), np.array([[0, 0], [1, 2]])
    assert pair_auc(torch.tensor([2.0, 1.0]), labels, pairs) == 1
    assert pair_auc(torch.tensor([1.0, 2.0]), labels, pairs) == 0


def test_small_features_leave_the_default_module_without_a_signal() -> None:
    """Why plain SGD stays at chance: at first its answer hardly depends on the images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 64, 4, 4, generator=generator) * torch.rand(64, 64, 1, 1, generator=generator) * 0.1

    def spread(name: str) -> float:
        torch.manual_seed(0)
        module = make_distinguish(64, RECIPES[name])
        module.distinguish[2] = torch.nn.Identity()
        with torch.no_grad():
            return module(images, images.roll(1, 0)).std().item()

    assert spread("adamw-he-input-norm") > 100 * spread("sgd")


def _two_of_a_kind(num: int) -> tuple[NDArray[np.float16], Indices]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, num)
    features = rng.random((num, 16, 2, 2)).astype(np.float16)
    features[:, 0] += 2 * labels[:, None, None]
    return features, labels


@pytest.mark.parametrize("pairs", ["random", "balanced"])
def test_d_learns_an_exclusive_or(pairs: str) -> None:
    features, labels = _two_of_a_kind(300)
    held_out = np.arange(300) % 5 == 0
    recipe = replace(LEARNS, pairs=pairs, num_steps=150, learning_rate=1e-3)  # type: ignore[arg-type]
    found = train_distinguish(features, labels, held_out, recipe, seed=0, num_pairs=500)
    assert found["pair_auc"] > 0.95
    assert [look["step"] for look in found["curve"]] == [37, 74, 111, 148]


@pytest.fixture(scope="module")
def training_set(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    """All of ISIC 2017's training set at the size the features are computed at."""
    pictures = read_set(data_root, "isic2017-train", allow_missing=True)
    return prepare_frames(pictures, tmp_path_factory.mktemp("frames"), SIZE)


@pytest.fixture(scope="module")
def layer4(training_set: FrameSet, data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float16]:
    """Frozen features of the lesions."""
    pretrained = load_pretrained(str(data_root.parent / "weights" / "resnet18_imagenet_no_layer4.1.safetensors"))
    assert pretrained is not None
    boxes = lesion_boxes(training_set, margin=0.25)
    return frozen_features(training_set, boxes, pretrained, size=SIZE, cache=tmp_path_factory.mktemp("features"))[
        "layer4"
    ]


@pytest.mark.data
def test_d_learns_on_frozen_features(training_set: FrameSet, layer4: NDArray[np.float16]) -> None:
    """The pair AUC on lesions held out; with the paper's learning rate and plain SGD it stays at chance."""
    held_out = folds_of(training_set) == 0
    learnt = train_distinguish(layer4, training_set.labels, held_out, LEARNS, seed=0, num_pairs=2000, num_looks=1)
    assert learnt["pair_auc"] >= 0.70
    control = train_distinguish(layer4, training_set.labels, held_out, DOES_NOT, seed=0, num_pairs=2000, num_looks=1)
    assert control["pair_auc"] < 0.60
    assert regression_pair_auc(layer4, training_set.labels, held_out, num_pairs=2000) > control["pair_auc"]
