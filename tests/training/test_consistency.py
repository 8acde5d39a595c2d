"""Stages, evaluations and exports that do not belong together are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.training.conftest import SmallExperiment


@pytest.fixture
def copy_of_run(small_experiment: SmallExperiment, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_experiment.run, tmp_path / "run"))


def change_weights(run: Path, stage: str) -> None:
    path = run / stage / "weights.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1.0}, path)


def test_the_second_stage_keeps_to_its_first_stage(small_experiment: SmallExperiment, copy_of_run: Path) -> None:
    assert small_experiment.command("recognition", run=copy_of_run).exit_code == 0
    change_weights(copy_of_run, "area")
    result = small_experiment.command("recognition", run=copy_of_run)
    assert result.exit_code == 1
    assert "another first stage" in result.output


def of_the_report(run: Path) -> tuple[str, ...]:
    return ("report", "--out", str(run.parent / "report"))


def of_the_export(run: Path) -> tuple[str, ...]:
    return ("export", "--out", str(run.parent / "bundle"))


@pytest.mark.parametrize("command", [of_the_report, of_the_export])
@pytest.mark.parametrize("stage", ["area", "recognition"])
def test_figures_of_other_weights_are_not_reported(
    small_experiment: SmallExperiment, copy_of_run: Path, stage: str, command: Callable[[Path], tuple[str, ...]]
) -> None:
    change_weights(copy_of_run, stage)
    result = small_experiment.command(*command(copy_of_run), run=copy_of_run)
    assert result.exit_code == 1
    assert "about other weights" in result.output
    assert "evaluate --split validation" in result.output
    assert not (copy_of_run.parent / "bundle").exists()


def test_eight_views_are_not_exported_as_one(small_experiment: SmallExperiment, copy_of_run: Path) -> None:
    eight = ("--set", "evaluation.views=8")
    assert small_experiment.command("evaluate", *eight, run=copy_of_run).exit_code == 0
    one = small_experiment.command(*of_the_export(copy_of_run), run=copy_of_run)
    assert (one.exit_code, "evaluation.views" in one.output) == (1, True)
    both = small_experiment.command(*of_the_export(copy_of_run), *eight, run=copy_of_run)
    assert (both.exit_code, "one view" in both.output) == (1, True)
    tested = small_experiment.command(
        "evaluate",
        "--split",
        "test",
        "--purpose=a test",
        "--ledger",
        str(copy_of_run.parent / "ledger.jsonl"),
        run=copy_of_run,
    )
    assert tested.exit_code == 1, "the temperatures are those of eight views"
    assert not (copy_of_run.parent / "ledger.jsonl").exists()
