"""``cin-train robustness-out-of-fold``: every fold's network answers the images that it was not trained on."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_training.release import fold_networks, robustness
from model_training.release.deployed import DeployedCIN
from service.bundle import load_bundle
from tests.model_training.conftest import SmallExperiment

FOLDS = (0, 3)
CHANGES = {name: robustness.STEADY[name] for name in ("JPEG 60", "12 hairs")}


class Command:
    """The command on a run whose finished folds have the bundle's own network."""

    def __init__(self, small: SmallExperiment, folder: Path) -> None:
        self.small, self.run, self.figures = small, folder / "run", folder / "robustness.json"

    def __call__(self, *arguments: str) -> tuple[str, dict[str, Any]]:
        """What it says, on one line, and its figures."""
        self.figures.unlink(missing_ok=True)
        told = ("--figures", str(self.figures), *arguments)
        result = self.small.command("robustness-out-of-fold", str(self.small.bundle), *told, run=self.run)
        output = " ".join(result.output.split())
        return output, json.loads(self.figures.read_text()) if result.exit_code == 0 else {}

    def copy_folds(self) -> None:
        """Finish the folds."""
        for fold in FOLDS:
            for stage in ("area", "recognition"):
                folder = self.run / "folds" / f"fold-{fold + 1}" / stage
                shutil.copytree(self.small.run / stage, folder)
                settings = folder / "config.json"
                settings.write_text(settings.read_text().replace('"fold": null', f'"fold": {fold}'))

    def forget_held_out(self) -> None:
        """Let the folds have been trained without the images that they hold out."""
        for fold in FOLDS:
            held_out = set(self.small.experiment().without_fold(fold).validation_set().ids)
            for table in (self.run / "folds" / f"fold-{fold + 1}").glob("*/pictures.csv"):
                rows = [row for row in csv.reader(table.open(newline="")) if row[0] not in held_out]
                with table.open("w", newline="") as file:
                    csv.writer(file).writerows(rows)


@pytest.fixture
def command(
    small_experiment: SmallExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Command:
    """The command; its changes are few, and the layers that the limits look at count as frozen."""
    monkeypatch.setattr("model_training.cli.robustness.STEADY", CHANGES)
    if "frozen" not in request.node.name:
        monkeypatch.setattr(fold_networks, "num_blocks_of_features", lambda _: 0)
    return Command(small_experiment, tmp_path)


def test_each_fold_answers_the_images_it_holds_out(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no fold of" in command()[0]
    command.copy_folds()
    assert "was trained on 6 of the 6 images that it would answer" in command()[0]
    command.forget_held_out()
    output, found = command("--set", "seed=0")
    assert [row["change"] for row in found["changes"]] == [robustness.UNCHANGED, robustness.ANY_TURN, *CHANGES], output

    # They say what the bundle says of these images.
    bundle, experiment = load_bundle(command.small.bundle), command.small.experiment()
    held_out = [experiment.without_fold(fold).validation_set() for fold in FOLDS]
    assert (found["num_images"], found["other_settings"]) == (sum(map(len, held_out)), [])
    own = [robustness.own_part(bundle, images) for images in held_out]
    expected = robustness.measure_robustness(bundle, own, CHANGES)
    assert found["changes"] == [
        {**row, **{key: pytest.approx(row[key], abs=1e-5) for key in ("mean_difference",) if key in row}}
        for row in expected
    ]

    # Another network in the last fold is exported for that fold alone.
    weights = command.run / "folds" / "fold-4" / "recognition" / "weights.safetensors"
    save_file({name: tensor + ("classify" in name) for name, tensor in load_file(weights).items()}, weights)
    exported: dict[str, DeployedCIN] = {}
    monkeypatch.setattr(fold_networks, "export_graph", lambda network, path, **_: exported.update({path.name: network}))
    parts = fold_networks.out_of_fold_parts(bundle, replace(experiment, folder=command.run), tmp_path)
    assert [(part.graph.name, part.images.ids) for part in parts] == [
        (name, images.ids) for name, images in zip(exported, held_out, strict=True)
    ]
    first, last = (each.network.own_branches()[0].classify.get_parameter("0.bias") for each in exported.values())
    assert list(exported) == ["fold-1.onnx", "fold-4.onnx"]
    assert torch.allclose(last, first + 1)


def test_limits_need_frozen_features(command: Command) -> None:
    assert "recognition.frozen_blocks is below 6" in command()[0]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("network.crop_margin=0.4", "network.crop_margin differ"),
        ("recognition.augmentation=strong", "recognition.augmentation differ"),
        ("evaluation.prevalence=balanced", "no fold of"),
    ],
)
def test_networks_of_other_settings_say_nothing(command: Command, assignment: str, said: str) -> None:
    assert said in command("--set", assignment)[0]


def test_the_first_stage_may_differ_and_that_is_said(command: Command) -> None:
    bundle, experiment = load_bundle(command.small.bundle), command.small.experiment()
    area = experiment.config.area.model_copy(update={"cross_fit": True})
    config = experiment.config.model_copy(update={"area": area, "seed": 3})
    object.__setattr__(experiment, "config", config)
    assert fold_networks.other_settings(bundle, experiment) == ["area.cross_fit", "seed"]


def test_another_prevalence_or_other_weights_are_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command.copy_folds()
    begun = command.run / "folds" / "fold-1" / "recognition" / "run.json"
    begun.write_text(json.dumps({**json.loads(begun.read_text()), "start": "another.pth"}))
    assert "began with the weights another.pth" in command()[0]
    monkeypatch.setattr(fold_networks, "prevalence_of", lambda _: {"melanoma": 1.0})
    assert "another prevalence" in command()[0]
