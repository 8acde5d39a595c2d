"""Crops for training from networks that have not seen the picture, and a first stage with a training set of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from model_training.config import ConfigError, load_config
from model_training.data.splits import hold_out_fold
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
    _experiment(folder, "area.cross_fit=2").train_area()
    return folder


def test_each_training_picture_is_cropped_by_a_network_that_has_not_seen_it(trained: Path) -> None:
    experiment = _experiment(trained, "area.cross_fit=2")
    train, _ = experiment.training_sets()
    boxes = dict(zip(train.ids, experiment.training_areas(train, CPU).box_B4, strict=True))
    for part in range(2):
        run = experiment.area_part_run(part)
        unseen = hold_out_fold(train, part, 2)[1]
        assert not set(run.read_pictures()) & set(unseen.ids)
        assert set(run.read_pictures()) | set(unseen.ids) == set(train.ids)
        expected = experiment.locate(unseen, CPU, part=part).box_B4
        torch.testing.assert_close(torch.stack([boxes[id] for id in unseen.ids]), expected, rtol=0, atol=0)


def test_the_second_stage_names_the_networks_that_cropped_for_it(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    experiment = _experiment(tmp_path / "copy", "area.cross_fit=2")
    experiment.train_recognition()
    parts = [experiment.area_part_run(part).weights_sha256() for part in range(2)]
    assert experiment.recognition_run.read_json("run.json")["area_part_weights"] == parts
    experiment.area_part_run(1).weights.unlink()
    with pytest.raises(RunError, match="area-without-part-2"):
        experiment.train_recognition()


def test_masks_of_another_set_train_the_first_stage_without_the_pictures_held_out(trained: Path) -> None:
    write_isic2016(trained / "data", size=96, train=20, test=6, seed=2)
    experiment = _experiment(trained, "data.area_train=isic2016-train")
    train, validation = experiment.area_sets()
    assert train.classes == ("benign", "malignant")
    assert not set(train.ids) & set(validation.ids)
    assert "isic2016-train" in experiment.training_set_names()


def test_only_the_training_set_itself_can_be_cross_fitted() -> None:
    with pytest.raises(ConfigError, match="leave out one"):
        load_config(None, ["area.cross_fit=5", "data.area_train=isic2016-train"])
