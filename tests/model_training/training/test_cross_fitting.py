"""Crops for training from networks that have not seen the image, and a first stage with a training set of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from model_training.config import ConfigError, load_config
from model_training.studies.plan import training_set_names
from model_training.training.experiment import Experiment
from model_training.training.run_folder import RunError
from tests.model_training.conftest import SETTINGS
from tests.synthetic import write_isic2016, write_isic2017

CPU = torch.device("cpu")


def _experiment(folder: Path, *settings: str) -> Experiment:
    config = load_config(None, [*SETTINGS, "area.epochs=1", *settings])
    return Experiment(config, folder / "data", folder / "cache", folder / "run", Console(quiet=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross-fitted")
    write_isic2017(folder / "data", size=96, train=24, validation=18, test=12, seed=1)
    _experiment(folder, "area.cross_fit=true").train_area()
    return folder


def test_each_training_image_is_cropped_by_a_network_that_has_not_seen_it(trained: Path) -> None:
    experiment = _experiment(trained, "area.cross_fit=true")
    train, _ = experiment.training_sets()
    boxes = dict(zip(train.ids, experiment.training_areas(train, CPU).box_B4, strict=True))
    *folds, own = experiment.first_stages()
    assert own is experiment
    assert set(own.area_run.read_pictures()) == set(train.ids)
    unseen = set(train.ids)
    for fold in folds:
        held_out = fold.validation_set()
        assert set(fold.area_run.read_pictures()) == set(train.ids) - set(held_out.ids)
        expected = fold.locate(held_out, CPU).box_B4
        torch.testing.assert_close(torch.stack([boxes[id] for id in held_out.ids]), expected, rtol=0, atol=0)
        unseen -= set(held_out.ids)
    assert not unseen


def test_the_experiment_of_a_fold_uses_the_same_networks(trained: Path) -> None:
    whole = _experiment(trained, "area.cross_fit=true")
    fold = whole.without_fold(2)
    assert [each.area_run.path for each in fold.first_stages()] == [
        each.area_run.path for each in whole.first_stages()[:-1]
    ]
    assert fold.area_run.path == whole.first_stages()[2].area_run.path
    train, held_out = fold.training_sets()
    cropped = fold.training_areas(train, CPU)
    everywhere = dict(
        zip(whole.training_sets()[0].ids, whole.training_areas(whole.training_sets()[0], CPU).box_B4, strict=True)
    )
    expected = torch.stack([everywhere[id] for id in train.ids])
    torch.testing.assert_close(cropped.box_B4, expected, rtol=0, atol=0)
    assert not set(fold.area_run.read_pictures()) & set(held_out.ids)


def test_the_second_stage_names_the_networks_that_cropped_for_it(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    experiment = _experiment(tmp_path / "copy", "area.cross_fit=true")
    experiment.train_recognition()
    runs = [each.area_run for each in experiment.first_stages()]
    named = experiment.recognition_run.read_json("run.json")["cross_fit_weights"]
    assert named == [run.weights_sha256() for run in runs]
    runs[1].weights.unlink()
    with pytest.raises(RunError, match="fold-2"):
        experiment.train_recognition()


def test_masks_of_another_set_train_the_first_stage_without_the_pictures_held_out(trained: Path) -> None:
    write_isic2016(trained / "data", size=96, train=20, test=6, seed=2)
    experiment = _experiment(trained, "data.area_train=isic2016-train")
    train, validation = experiment.area_sets()
    assert train.classes == ("benign", "malignant")
    assert not set(train.ids) & set(validation.ids)
    assert training_set_names(experiment.config) == ["isic2017-train", "isic2016-train", "isic2017-validation"]


def test_only_the_training_set_itself_can_be_cross_fitted() -> None:
    with pytest.raises(ConfigError, match="leave out"):
        load_config(None, ["area.cross_fit=true", "data.area_train=isic2016-train"])
