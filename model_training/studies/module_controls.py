"""The controls of single modules on frozen features: their data and their results.

There is one JSON file per study; existing results are not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model_training.arrays import Indices
from model_training.data.frames import FrameSet
from model_training.data.splits import folds_of
from model_training.files import write_text
from model_training.network.backbones import DEFAULT_BACKBONE
from model_training.studies.attention_control import attention_control
from model_training.studies.attention_recipes import RECIPES as ATTENTION_RECIPES
from model_training.studies.classifier_control import RECIPES as CLASSIFIER_RECIPES
from model_training.studies.classifier_control import classifier_control
from model_training.studies.distinguish_control import RECIPES as DISTINGUISH_RECIPES
from model_training.studies.distinguish_control import regression_pair_auc, train_distinguish
from model_training.studies.frozen_features import (
    Layer,
    all_means,
    frozen_features,
    layer_means,
    lesion_boxes,
    whole_images,
)
from model_training.studies.regression_control import RECIPES as REGRESSION_RECIPES
from model_training.studies.regression_control import ChangedFeatures, changed_features, regression_control
from model_training.studies.share_control import RECIPES as SHARE_RECIPES
from model_training.studies.share_control import share_control
from model_training.studies.teacher_control import RECIPES as TEACHER_RECIPES
from model_training.studies.teacher_control import Branches, teacher_control
from model_training.training.pretrained import Pretrained

Study = Literal["distinguish", "attention", "classifier", "regression", "share", "teacher"]
View = Literal["crop", "whole", "both"]

INPUT_SIZE = 224
CROP_MARGIN = 0.25
SECOND_BACKBONE = "efficientnet-lite0"
NUM_PAIRS = 2000

# The recipe with a logistic regression instead of the distinguish module.
REGRESSION = "regression"

RECIPE_NAMES: dict[Study, list[str]] = {
    "distinguish": [REGRESSION, *DISTINGUISH_RECIPES],
    "attention": list(ATTENTION_RECIPES),
    "classifier": list(CLASSIFIER_RECIPES),
    "regression": list(REGRESSION_RECIPES),
    "share": list(SHARE_RECIPES),
    "teacher": list(TEACHER_RECIPES),
}


@dataclass(frozen=True)
class ControlData:
    """What each study needs of the features, with the labels and folds of their images."""

    features_NCHW: NDArray[np.float16]
    means_LNC: dict[int, NDArray[np.float32]]
    changed: ChangedFeatures
    # Of the crops and of the whole images.
    views: Sequence[NDArray[np.float16]]
    # The means of both backbones' layers.
    branches: Branches
    labels_N: Indices
    fold_N: Indices


@dataclass(frozen=True)
class Control:
    """One training on frozen features; ``fold`` (from 0) is held out."""

    study: Study
    recipe: str
    view: View
    layer: Layer
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """The key of its result."""
        return f"{self.recipe}/{self.view}-{self.layer}/fold-{self.fold + 1}/seed-{self.seed}"


def control_data(
    study: Study,
    pictures: FrameSet,
    pretrained: Pretrained,
    view: View,
    layer: Layer,
    *,
    cache: Path,
    second: Pretrained | None = None,
) -> ControlData:
    """The frozen features of ``pictures``, computed unless ``cache`` holds them; ``second`` is of EfficientNet-Lite0.

    Crops are around the true masks: controls compare recipes, and do not estimate a whole network's figures.
    """
    whole = whole_images(pictures)
    boxes = whole if view == "whole" else lesion_boxes(pictures, margin=CROP_MARGIN)
    views: list[NDArray[np.float16]] = []
    branches: Branches = ((), ())
    maps: NDArray[np.float16] = np.zeros((0, 0, 0, 0), dtype=np.float16)
    means: dict[int, NDArray[np.float32]] = {}
    changed: ChangedFeatures = {}
    if study == "regression":
        changed = changed_features(pictures, boxes, pretrained, size=INPUT_SIZE, cache=cache)
    elif study == "classifier":
        means = layer_means(pictures, boxes, pretrained, size=INPUT_SIZE, cache=cache)
    elif study == "share":
        for each in (boxes, whole):
            features = frozen_features(pictures, each, pretrained, size=INPUT_SIZE, cache=cache)
            views.append(np.ascontiguousarray(features[layer]))
    elif study == "teacher":
        assert second is not None
        first, other = (
            [
                all_means(pictures, each, weights, backbone=backbone, size=INPUT_SIZE, cache=cache)
                for each in (boxes, whole)
            ]
            for weights, backbone in ((pretrained, DEFAULT_BACKBONE), (second, SECOND_BACKBONE))
        )
        branches = (first, other)
    else:
        maps = np.ascontiguousarray(frozen_features(pictures, boxes, pretrained, size=INPUT_SIZE, cache=cache)[layer])
    return ControlData(maps, means, changed, views, branches, pictures.labels, folds_of(pictures))


def run_control(control: Control, data: ControlData) -> dict[str, Any]:
    """The figures of one control."""
    held_out = data.fold_N == control.fold
    if control.study == "attention":
        recipe = ATTENTION_RECIPES[control.recipe]
        return attention_control(data.features_NCHW, data.labels_N, held_out, recipe, seed=control.seed)
    if control.study == "classifier":
        layers = CLASSIFIER_RECIPES[control.recipe]
        return dict(classifier_control(data.means_LNC, data.labels_N, held_out, layers))
    if control.study == "regression":
        return dict(regression_control(data.changed, data.labels_N, held_out, REGRESSION_RECIPES[control.recipe]))
    if control.study == "share":
        share = SHARE_RECIPES[control.recipe]
        return share_control(data.views, data.labels_N, held_out, share, seed=control.seed, num_pairs=NUM_PAIRS)
    if control.study == "teacher":
        taught = TEACHER_RECIPES[control.recipe]
        return dict(teacher_control(data.branches, data.labels_N, data.fold_N, control.fold, taught))
    if control.recipe == REGRESSION:
        auc = regression_pair_auc(data.features_NCHW, data.labels_N, held_out, num_pairs=NUM_PAIRS)
        return {"pair_auc": auc}
    return train_distinguish(
        data.features_NCHW,
        data.labels_N,
        held_out,
        DISTINGUISH_RECIPES[control.recipe],
        seed=control.seed,
        num_pairs=NUM_PAIRS,
    )


class Records:
    """The results of one study, in a JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
        self.by_name: dict[str, dict[str, Any]] = json.loads(text)

    def add(self, name: str, record: dict[str, Any]) -> None:
        """Write a result."""
        self.by_name[name] = _rounded(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(dict(sorted(self.by_name.items())), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    """Round figures to six digits: more are noise, and make the file large."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
