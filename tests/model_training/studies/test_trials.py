"""Trials: outcomes are kept, and those of other settings or starts are not mixed in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import save_file

from model_training.data.isic import read_set
from model_training.network.backbones import make_stages
from model_training.studies.plan import runnable
from model_training.studies.trials import TrialError, run_trials
from tests.model_training.studies.small_tables import SmallTables


def test_trials_are_not_run_by_several_processes_at_once(
    small_tables: SmallTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun would."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrialError, match="instead of torchrun start one command for each GPU"):
        run_trials([small_tables.trial("d")], Console(quiet=True), ledger=small_tables.root / "ledger.jsonl")


def test_an_outcome_from_before_a_key_is_kept(small_tables: SmallTables) -> None:
    path = small_tables.root / "results" / "trials" / "isic2017" / "baseline" / "seed-0" / "trial.json"
    before = path.read_text()
    record = json.loads(before)
    del record["config"]["network"]["attention_start"]
    path.write_text(json.dumps(record))
    result = small_tables.command("reproduce", "--table=1", "--system=baseline", "--seeds=2")
    path.write_text(before)
    assert result.exit_code == 0, result.output
    assert "finished" in result.output


@pytest.mark.parametrize("file", ["trial.json", "predictions.csv"])
def test_a_damaged_outcome_is_named(small_tables: SmallTables, file: str) -> None:
    path = small_tables.root / "results" / "trials" / "isic2017" / "baseline" / "seed-0" / file
    before = path.read_text()
    path.write_text(before[: before.rindex(",")])
    result = small_tables.command("reproduce", "--table=1", "--system=baseline", "--seeds=1")
    path.write_text(before)
    assert result.exit_code == 1
    assert str(path) in "".join(result.output.split())
    assert "damaged" in result.output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("recognition.learning_rate=0.5", "another configuration"),
        ("precision=bf16-mixed", "was trained in 32-true, which would be bf16-mixed here; set precision=32-true"),
    ],
    ids=["configuration", "precision"],
)
def test_other_settings_are_not_mixed_in(small_tables: SmallTables, setting: str, message: str) -> None:
    arguments = ["--table=1", "--system=baseline", "--seeds=1", "--set", setting]
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_another_start_is_not_mixed_in(small_tables: SmallTables, tmp_path: Path) -> None:
    save_file(make_stages().state_dict(), tmp_path / "weights.safetensors")
    start = f"start={tmp_path / 'weights.safetensors'}"
    arguments = ["--table=1", "--system=baseline", "--seeds=3", "--set", start]
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert "is the outcome of another start, none (random weights)" in " ".join(result.output.split())
    assert not (small_tables.root / "runs" / "isic2017" / "baseline" / "seed-2").exists()


def test_a_start_that_has_seen_test_pictures_is_refused_before_training(
    small_tables: SmallTables, tmp_path: Path
) -> None:
    save_file(make_stages().state_dict(), tmp_path / "weights.safetensors")
    seen = read_set(small_tables.data, "isic2017-test").samples[2].id
    (tmp_path / "pictures.csv").write_text(f"id,sha256\n{seen},\n")
    start = f"start={tmp_path / 'weights.safetensors'}"
    result = small_tables.command(
        "reproduce", "--table=1", "--system=baseline", "--seeds=1", f"--results={tmp_path}", "--set", start
    )
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert f"cannot be run here: 1 of the 12 images of isic2017-test were trained on ({seen})" in said


def test_a_trial_that_another_command_has_finished_meanwhile_is_not_run_again(
    small_tables: SmallTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found it open; one waited while the other ran it."""
    trial = small_tables.trial("baseline")
    record, elsewhere = trial.results / "trial.json", tmp_path / "trial.json"
    record.rename(elsewhere)
    try:
        assert runnable([trial], Console(quiet=True), timings=tmp_path / "timings.json") == [trial]
    finally:
        elsewhere.rename(record)
    monkeypatch.setattr("model_training.studies.trials.run_trial", lambda *_, **__: pytest.fail("it is finished"))
    run_trials([trial], Console(quiet=True), ledger=tmp_path / "ledger.jsonl")
