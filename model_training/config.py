"""The configuration of an experiment: a TOML file, changed by ``--set section.key=value``; unknown keys are errors.

One file describes both stages of the paper's protocol. The defaults are the paper's protocol on ISIC 2017; where the
paper is silent the key's comment says what was chosen, and ``docs/paper.md`` says why.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from model_training.network.backbones import DEFAULT_BACKBONE, known_backbone
from service.bundle import DiagnosisClass

NUM_FOLDS = 5


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the key and what it may be."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SPLITS = ("train", "validation", "test")

TableName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class DataConfig(_Section):
    """The image sets, and the resolution of their prepared frames."""

    # Own images: the name of each table and its file below the data folder (``data/table.py``). The table ``clinic``
    # gives the sets clinic-train, clinic-validation and clinic-test, or clinic if it has no column ``split``.
    tables: dict[TableName, PurePosixPath] = {}
    # The classes of the tables, in the order of the network's outputs.
    classes: tuple[DiagnosisClass, ...] = ()
    train: str = "isic2017-train"
    validation: str = "isic2017-validation"
    test: str = "isic2017-test"
    # The set whose masks train the first stage; None: ``train``. The paper uses that of ISIC 2016.
    area_train: str | None = None
    # Share of the training set that is held out at random (by the seed) in place of ``validation``: for challenges
    # without a validation set (the paper holds out 0.2 of ISBI 2016 in each run).
    holdout: float | None = Field(None, gt=0, lt=1)
    # Which of five fixed folds of the training set, 0 to 4, is held out in place of ``validation``.
    fold: int | None = Field(None, ge=0, lt=NUM_FOLDS)
    # F: side in pixels of the prepared frames; not more than the images have.
    frame_size: int = Field(256, ge=32)
    # JPEG quality of the sets, when they hold copies at frame size: the service then compresses resized originals the
    # same way.
    copies_jpeg_quality: int | None = Field(None, ge=1, le=95)
    # Continue when images or masks are missing (an image without a mask trains the recognition stage only).
    allow_missing: bool = False

    def is_own(self, name: str) -> bool:
        """Whether the set ``name`` comes from a table, and not from the challenges."""
        return name.partition("-")[0] in self.tables

    @model_validator(mode="after")
    def _tables_have_files_and_classes(self) -> Self:
        if not self.tables:
            return self
        for name, file in self.tables.items():
            if name in ("isic2016", "isic2017"):
                raise ValueError(f"{name} is a challenge: give the table another name")
            # A path of this machine would go into the bundle.
            if file.is_absolute() or ".." in file.parts:
                raise ValueError(f"the file of {name} is given from the data folder, without leaving it: not {file}")
        names, roles = [each.name for each in self.classes], {each.role for each in self.classes}
        if not {"malignant", "benign"} <= roles:
            raise ValueError("tables need classes: name, label and role of each, at least one malignant and one benign")
        if len(set(names)) < len(names):
            raise ValueError(f"two classes have the name {next(n for n in names if names.count(n) > 1)}")
        return self

    @model_validator(mode="after")
    def _one_way_to_hold_out(self) -> Self:
        if self.holdout is not None and self.fold is not None:
            raise ValueError("holdout and fold both hold out a part of the training set; set one of them")
        return self


class NetworkConfig(_Section):
    """The modules of the paper's Table 1 (A, F, D) and what the paper leaves open about them."""

    # S: side in pixels of the branches' input.
    size: int = Field(448, ge=32)
    # Input side of the lesion area attention module (the paper's is S).
    area_size: int = Field(224, ge=32)
    lesion_area_attention: bool = True
    lesion_feature_attention: bool = True
    distinguish: bool = True
    # How Eqns 1 to 3 are normalised: ``network/lesion_feature_attention.py``.
    attention: Literal["stabilised", "literal", "row", "cosine"] = "stabilised"
    # Initial value of alpha and beta of Eqn 3. At 0 the attention starts as the identity, and grows by about the
    # learning rate per step.
    attention_start: float = Field(0.0, ge=0, le=1)
    # With "shared" weights the sum over branches has no effect. "single" trains on images instead of pairs, for the
    # rows of Table 1 without the distinguish module.
    branches: Literal["separate", "shared", "single"] = "separate"
    # What the second branch sees: the crop, as in the paper, or the whole image.
    second_view: Literal["crop", "whole"] = "crop"
    # How the images of a pair are compared: the paper's module, or three linear layers as in synergic deep learning.
    distinguish_form: Literal["convolutional", "synergic"] = "convolutional"
    # Batch normalisation and initialisation of the distinguish module: ``network/distinguish.py``.
    distinguish_norm: Literal["none", "input", "all"] = "none"
    distinguish_initialisation: Literal["default", "he"] = "default"
    # Fully connected layers of each branch's classifier; the paper's "two" may also mean one for each branch.
    classifier_layers: Literal[1, 2] = 2
    # Where the mean over positions is taken: before the classifier's layers, or between them.
    classifier_pooling: Literal["before", "between"] = "before"
    # The classifier's input: F_A alone, as in the paper, or also the means of the earlier residual layers, standardised
    # on the training images.
    classifier_features: Literal["last", "all"] = "last"
    # Whether the classifier also sees the features' means over the lesion, weighted by its attention map.
    lesion_pooling: bool = False
    # Initial weights of the classifier: random, or a regression on the ImageNet features of the training images.
    classifier_start: Literal["random", "regression"] = "random"
    # The feature extraction module, by a name in ``network/backbones.py``: the paper's is ResNet18.
    features: Annotated[str, AfterValidator(known_backbone)] = DEFAULT_BACKBONE
    # Above this, a pixel of the attention map belongs to the lesion.
    crop_threshold: float = Field(0.5, gt=0, lt=1)
    # Areas narrower than this share of the map's side are removed as specks.
    crop_opening: float = Field(0.02, ge=0, le=0.2)
    # Skin kept around the smallest rectangle, as a share of its side.
    crop_margin: float = Field(0.05, ge=0, le=1)
    # First turn and mirror every image to a canonical orientation, so that the answer does not depend on how the camera
    # was held: ``network/orientation.py``.
    canonical_orientation: bool = False

    @model_validator(mode="after")
    def _pairs_and_second_views_need_two_branches(self) -> Self:
        if self.branches == "single" and self.distinguish:
            raise ValueError("a single branch sees no pairs: set distinguish = false, or branches = 'separate'")
        if self.second_view == "whole" and self.branches != "separate":
            raise ValueError("one branch has one view: set second_view = 'crop', or branches = 'separate'")
        return self

    @model_validator(mode="after")
    def _pooling_between_needs_two_layers(self) -> Self:
        if self.classifier_pooling == "between" and self.classifier_layers == 1:
            raise ValueError("one layer has nothing to pool between: set classifier_pooling = 'before'")
        return self

    @model_validator(mode="after")
    def _means_of_layers_and_regressions(self) -> Self:
        if (self.classifier_features == "all" or self.lesion_pooling) and self.classifier_pooling == "between":
            raise ValueError("the other features are means: set classifier_pooling = 'before'")
        if self.classifier_start == "regression" and (self.classifier_layers, self.classifier_pooling) != (1, "before"):
            raise ValueError("a regression is one layer: set classifier_layers = 1 and classifier_pooling = 'before'")
        return self


class StageConfig(_Section):
    """How one stage is optimised."""

    epochs: int = Field(60, gt=0)
    batch_size: int = Field(32, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    # The learning rate of modules without pretrained weights, as a multiple of ``learning_rate``.
    new_module_rate: float = Field(1.0, gt=0)
    optimiser: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = Field(1e-4, ge=0)
    # "step" multiplies the learning rate by 0.1 every ``decay_every`` epochs (the paper); "cosine" warms up for a
    # tenth of the steps and falls along a cosine: for short runs.
    schedule: Literal["step", "cosine"] = "step"
    decay_every: int = Field(20, gt=0)
    # Share of the training images with hairs, pen marks, rims, vignettes and compression: ``data/artefacts.py``.
    artefacts: float = Field(0.0, ge=0, le=1)


class AreaConfig(StageConfig):
    """The first stage: the lesion area attention module, alone."""

    # Weight of the auxiliary L1 loss against the cross-entropy; 0 switches the auxiliary branch off.
    auxiliary_weight: float = Field(0.1, ge=0)
    # Whether each training image is cropped by a network that has not seen it: the first stage of the fold that holds
    # it out. Otherwise one network crops all, and crops its training images better than new ones.
    cross_fit: bool = False


class RecognitionConfig(StageConfig):
    """The second stage: everything else, with L = Lc + lambda Ld. ``batch_size`` counts pairs."""

    # Lambda of Eqn 6.
    distinguish_weight: float = Field(1.0, ge=0)
    # "balanced": every other pair has the same class.
    pairs: Literal["random", "balanced"] = "random"
    # Strength of scaling, shifts and colour changes, which the paper does not mention: ``data/augment.py``.
    augmentation: Literal["light", "strong"] = "light"
    # Number of residual blocks that are frozen at their pretrained weights and statistics, with the stem; 0: none.
    # ResNet18 has 8.
    frozen_blocks: int = Field(0, ge=0)
    # Freeze all of them in the second branch, so that the branches make different errors.
    frozen_branch: bool = False
    # Of classifiers that start as a regression, r and v of ``training/regression.py``; v = 0: without changed copies.
    regression_penalty: float = Field(0.1, ge=0)
    variation_penalty: float = Field(0.0, ge=0)
    class_weights: Literal["inverse", "none"] = "inverse"  # w_j of Eqn 4


class EvaluationConfig(_Section):
    """How a finished network is evaluated; no effect on training."""

    # 8 averages the logits over the turns and mirrors of the crop (test-time augmentation); the paper uses 1.
    views: Literal[1, 8] = 1
    # The class prevalence of the probabilities: "balanced", which the weights of Eqn 4 imply and the paper's figures
    # use, or "training", that of the training set.
    prevalence: Literal["balanced", "training"] = "balanced"


class Config(_Section):
    """Everything that determines the result of a run."""

    seed: int = Field(0, ge=0, lt=2**31)
    # Refuse GPU operations whose result varies between runs; slower. CPUs are always deterministic.
    deterministic: bool = False
    # "auto": bf16-mixed where the hardware multiplies bfloat16 matrices (GPUs; CPUs with AMX or AVX512_BF16), else
    # float32.
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    # "cuda" refuses to train without a GPU; "auto" takes one where there is one.
    accelerator: Literal["auto", "cuda", "cpu"] = "auto"
    # Pretrained weights: "torchvision" downloads ImageNet's; or a path to a .pth or .safetensors file; or "none".
    start: str = "torchvision"
    # The same of the first stage, whose encoder is always a ResNet18; None: ``start``.
    area_start: str | None = None
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    area: AreaConfig = AreaConfig()
    recognition: RecognitionConfig = RecognitionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _the_second_stage_fits_the_network(self) -> Self:
        if self.recognition.frozen_branch and self.network.branches != "separate":
            raise ValueError("recognition.frozen_branch needs a second branch: set network.branches = 'separate'")
        if self.recognition.variation_penalty and self.network.classifier_start != "regression":
            raise ValueError("recognition.variation_penalty needs network.classifier_start = 'regression'")
        return self

    @model_validator(mode="after")
    def _cross_fits_its_own_pictures(self) -> Self:
        if self.area.cross_fit and (self.data.area_train is not None or self.data.holdout is not None):
            raise ValueError("area.cross_fit needs the folds of data.train: leave out data.area_train and data.holdout")
        return self


def load_config(
    path: Path | None, assignments: Iterable[str] = (), *, recorded: Mapping[str, Any] | None = None
) -> Config:
    """Read ``path`` (None: ``recorded``, or the defaults), apply ``section.key=value`` assignments, check everything.

    Values are TOML (``true``, ``3``, ``1e-3``, ``"text"``); a bare word is taken as text. Raises :class:`ConfigError`.
    """
    fields: dict[str, Any] = deepcopy(dict(recorded or {}))
    if path is not None:
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
    for assignment in assignments:
        _assign(fields, assignment)
    try:
        return Config.model_validate(fields)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {_message(e)} (got {e['input']!r})" for e in error.errors()]
        raise ConfigError("the configuration is not valid:\n  " + "\n  ".join(lines)) from error


def _message(error: ErrorDetails) -> str:
    return "there is no such key" if error["type"] == "extra_forbidden" else error["msg"]


def _assign(fields: dict[str, Any], assignment: str) -> None:
    name, separator, text = assignment.partition("=")
    *sections, key = name.strip().split(".")
    text = text.strip()
    if not separator or not key:
        raise ConfigError(f"--set takes section.key=value, got {assignment!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for section in sections:
        fields = fields.setdefault(section, {})
        if not isinstance(fields, dict):
            raise ConfigError(f"--set {assignment}: {section} is a value, not a section")
    fields[key] = value
