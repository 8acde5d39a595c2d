"""The plan: what is left to run, and how long it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from model_training.config import load_config
from model_training.studies.paper_tables import TABLES
from model_training.studies.plan import runnable
from model_training.studies.reproduce import table_trials
from model_training.training.experiment import Experiment
from tests.model_training.studies.small_tables import SmallTables


def test_the_plan_runs_nothing(small_tables: SmallTables, tmp_path: Path) -> None:
    result = small_tables.command("reproduce", "--table=1", "--system=f", "--plan", f"--results={tmp_path}")
    assert result.exit_code == 0, result.output
    assert "isic2017/f/seed-2" in result.output
    assert "hours left" in result.output
    assert not (small_tables.root / "runs" / "isic2017" / "f").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_pace_is_measured_once_and_a_run_of_its_own_tells_better(
    small_tables: SmallTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[str] = []
    monkeypatch.setattr(
        "model_training.studies.plan.time_recognition_batch", lambda config: timed.append("recognition") or 2.0
    )
    monkeypatch.setattr("model_training.studies.plan.time_area_batch", lambda config: timed.append("area") or 1.0)
    template = Experiment(load_config(None), small_tables.data, tmp_path, tmp_path / "runs", Console(quiet=True))
    settings = [*small_tables.settings, "recognition.epochs=4"]
    trials = table_trials([TABLES[1]], template, tmp_path, config=None, assignments=settings, num_seeds=1)
    (trial,) = [trial for trial in trials if trial.variant == "baseline"]
    steps = 16 // trial.config.recognition.batch_size

    def hours_left() -> float:
        with (console := Console(width=200)).capture() as said:
            assert runnable([trial], console, timings=tmp_path / "timings.json") == [trial]
        return float(re.findall(r"baseline/seed-0 +│ +\d of 4 +│ +(\d+)", said.get())[0]) / 60

    assert hours_left() == hours_left() == pytest.approx(round(4 * steps * 2.0 / 60) / 60)
    assert timed == ["recognition"]
    trial.experiment.recognition_run.path.mkdir(parents=True)
    trial.experiment.recognition_run.append_metrics(0, {"seconds": 1800.0})
    assert hours_left() == pytest.approx(3 * 0.5)
    assert timed == ["recognition"]
