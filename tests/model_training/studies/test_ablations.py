"""Ablations: what each changes, and how they are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model_training.config import load_config
from model_training.evaluation.statistics import interval_over_folds
from model_training.studies.ablations import ABLATIONS, fold_trials
from model_training.studies.paper_tables import SYSTEMS
from model_training.training.experiment import Experiment
from service.bundle import file_sha256
from tests.model_training.studies.small_tables import SmallTables
from tests.paths import REPOSITORY


@pytest.mark.parametrize("choice", ABLATIONS)
def test_every_choice_is_a_valid_configuration_that_changes_something(choice: str) -> None:
    changed = load_config(None, [*ABLATIONS[choice]]) != load_config(None)
    assert changed == (choice not in ("base", "sgd-step")), "the paper's own protocol is the default"


@pytest.mark.parametrize(("base", "same"), [((), "sgd-step"), (ABLATIONS["adamw-cosine"], "adamw-cosine")])
def test_choices_that_change_nothing_are_not_tried(base: tuple[str, ...], same: str, tmp_path: Path) -> None:
    template = Experiment(load_config(None), tmp_path, tmp_path, tmp_path, Console(quiet=True))
    trials = fold_trials(template, tmp_path, config=None, assignments=base)
    assert {trial.variant for trial in trials} == ABLATIONS.keys() - {same}


def test_the_steady_recipe_is_the_shipped_models() -> None:
    configs = REPOSITORY / "model_training" / "configs"
    recipe = load_config(configs / "isic2017-cpu.toml", ABLATIONS["steady-recipe"])
    assert recipe == load_config(configs / "cin-isic2017.toml")


# What the paper gives a figure for; machines and short schedules need others.
THE_PAPERS_OWN = {"batch_size", "decay_every", "learning_rate"}


def test_every_key_of_the_network_and_its_training_is_varied_by_an_experiment() -> None:
    configs = [load_config(path) for path in (REPOSITORY / "model_training" / "configs").glob("*.toml")]
    configs += [load_config(None, changes) for changes in (*ABLATIONS.values(), *SYSTEMS.values())]
    dumps = [config.model_dump() for config in (load_config(None), *configs)]
    for section in ("network", "area", "recognition", "evaluation"):
        for key in dumps[0][section]:
            values = {str(dump[section][key]) for dump in dumps}
            assert len(values) > 1 or key in THE_PAPERS_OWN, f"{section}.{key}"


def test_choices_are_compared_fold_by_fold_and_never_on_the_test_set(
    small_tables: SmallTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_training.studies.ablations.NUM_FOLDS", 2)
    monkeypatch.setattr("model_training.studies.ablations.CONTROLS", {"no-crop": "eight-views", "base": "not-run"})
    arguments = ["--ablation=base", "--ablation=no-crop", "--ablation=eight-views"]
    before = (small_tables.root / "ledger.jsonl").read_text()
    result = small_tables.command("ablations", *arguments)
    assert result.exit_code == 0, result.output
    told = json.loads((small_tables.root / "results" / "cross-validation.json").read_text())
    choices = told["choices"]
    assert [choice["name"] for choice in choices] == ["base", "no-crop", "eight-views"]
    assert all(choice["folds"] == [1, 2] for choice in choices)
    base, other = (choice["metrics"]["mean_auc"] for choice in choices[:2])
    trials = small_tables.root / "results" / "trials" / "cross-validation"
    assert "gain" not in base
    assert other["gain"] == pytest.approx(other["mean"] - base["mean"])
    assert other["low"] <= other["gain"] <= other["high"]
    assert other["gain"] == pytest.approx(np.mean(other["gain_by_fold"]))
    assert [other["folds_low"], other["folds_high"]] == pytest.approx(
        interval_over_folds(np.array(other["gain_by_fold"]), 2)
    )
    on_folds = [
        trial["metrics"]["mean_auc"]
        for trial in (
            json.loads((trials / choice / f"fold-{fold}" / "trial.json").read_text())
            for choice in ("base", "no-crop")
            for fold in (1, 2)
        )
    ]
    assert other["gain_by_fold"] == pytest.approx(np.subtract(on_folds[2:], on_folds[:2]))
    views = choices[2]["metrics"]["mean_auc"]
    assert choices[2]["shared_folds"] == [1, 2]
    assert views["gain"] == pytest.approx(views["mean"] - base["mean"])
    (control,) = told["controls"]
    assert (control["name"], control["against"], control["shared_folds"]) == ("no-crop", "eight-views", [1, 2])
    assert control["metrics"]["mean_auc"]["gain"] == pytest.approx(other["mean"] - views["mean"])
    assert "| no-crop | eight-views | " in (small_tables.root / "results" / "cross-validation.md").read_text()
    assert (small_tables.root / "ledger.jsonl").read_text() == before
    cross_validation = small_tables.root / "runs" / "cross-validation"
    left = [
        json.loads((cross_validation / choice / "fold-1" / "evaluation" / "validation" / "report.json").read_text())
        for choice in ("base", "eight-views")
    ]
    assert [report["answered_by"]["views"] for report in left] == [1, 8]
    for record in trials.rglob("trial.json"):
        assert "isic2017-train (fold" in json.loads(record.read_text())["evaluated_on"]


def test_choices_on_crops_by_another_network_are_not_compared(
    small_tables: SmallTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_training.studies.ablations.NUM_FOLDS", 1)
    arguments = ["--ablation=base", "--ablation=wide-crop", f"--results={tmp_path}"]
    assert (first := small_tables.command("ablations", *arguments)).exit_code == 0, first.output
    path = tmp_path / "trials" / "cross-validation" / "wide-crop" / "fold-1" / "trial.json"
    record = json.loads(path.read_text())
    area = small_tables.root / "runs" / "cross-validation" / "lesion-area" / "base" / "fold-1"
    assert record["area_sha256"] == next(iter(file_sha256(p) for p in area.rglob("weights*.safetensors")))
    path.write_text(json.dumps({**record, "area_sha256": "0" * 64}))
    result = small_tables.command("ablations", *arguments)
    assert result.exit_code == 1
    assert "differ in their first stage; rerun one of them" in " ".join(result.output.split())


def test_choices_on_other_sets_are_compared_by_their_own_figures(
    small_tables: SmallTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_training.studies.ablations.NUM_FOLDS", 1)
    folders = [f"--{folder}={tmp_path / folder}" for folder in ("runs", "results")]
    result = small_tables.command("ablations", "--ablation=no-crop", "--set", "data.train=isic2016-train", *folders)
    assert result.exit_code == 0, result.output
    assert "without base nothing is compared" in " ".join(result.output.split())
    (choice,) = json.loads((tmp_path / "results" / "cross-validation.json").read_text())["choices"]
    assert list(choice["metrics"]) == ["malignant_auc", "mean_auc"]
    assert "on `isic2016-train`" in (tmp_path / "results" / "cross-validation.md").read_text()
