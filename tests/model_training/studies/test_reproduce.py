"""The command that reruns the tables: it resumes, shares first stages, and goes on past what cannot be run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from model_training.config import load_config
from model_training.network.backbones import make_stages
from model_training.studies.paper_tables import TABLES
from model_training.studies.reproduce import table_trials
from model_training.training.experiment import Experiment
from tests.model_training.studies.small_tables import SmallTables
from tests.paths import REPOSITORY


def test_finished_trials_are_not_run_again(small_tables: SmallTables) -> None:
    readings = (small_tables.root / "ledger.jsonl").read_text().splitlines()
    trials = {f"isic2017/{system}/seed-{seed}" for system in ("a", "baseline") for seed in (0, 1)}
    assert {json.loads(line)["purpose"] for line in readings[:5]} == {*trials, "isbi2016/cin/seed-0"}
    result = small_tables.command("reproduce", "--table=1", "--system=baseline", "--seeds=2")
    assert result.exit_code == 0
    assert "finished" in result.output
    assert (small_tables.root / "ledger.jsonl").read_text().splitlines() == readings


def test_the_systems_of_a_seed_share_the_first_stage(small_tables: SmallTables) -> None:
    runs = small_tables.root / "runs"
    expected = {"isbi2016/lesion-area/seed-0", "isic2017/lesion-area/seed-0", "isic2017/lesion-area/seed-1"}
    found = {str(path.parents[1].relative_to(runs)) for path in runs.glob("is*/**/area/weights.safetensors")}
    assert found == expected


def test_a_share_of_the_2016_training_set_is_held_out_by_the_seed(small_tables: SmallTables) -> None:
    record = json.loads(
        (small_tables.root / "results" / "trials" / "isbi2016" / "cin" / "seed-0" / "trial.json").read_text()
    )
    assert record["validation"]["num_pictures"] == 4
    assert record["evaluated_on"] == "isic2016-test"
    weights = load_file(small_tables.root / "runs" / "isbi2016" / "cin" / "seed-0" / "recognition/weights.safetensors")
    attention = {f"branches.{branch}.attention.{name}" for branch in (0, 1) for name in ("alpha", "beta")}
    assert record["attention_weights"] == {name: pytest.approx(float(weights[name])) for name in attention}


@pytest.mark.parametrize(("config", "results"), [("isic2017", "protocol"), ("isic2017-short", ".")])
def test_the_outcomes_in_the_repository_are_taken_up(config: str, results: str, tmp_path: Path) -> None:
    """``make reproduce`` and the command of ``docs/reproduction.md`` both go on where they are."""
    template = Experiment(load_config(None), tmp_path, tmp_path, tmp_path, Console(quiet=True))
    folder, path = REPOSITORY / "results" / results / "trials", REPOSITORY / f"model_training/configs/{config}.toml"
    settings = ["data.allow_missing=true"] if config.endswith("short") else []
    tables = [TABLES[1], TABLES[3]]
    trials = table_trials(tables, template, folder, config=path, assignments=settings, num_seeds=1)
    found = [trial.variant for trial in trials if trial.record() is not None]
    assert len(found) == len(list(folder.glob("isic2017/*/seed-0/trial.json")))
    assert found or config == "isic2017"


def test_a_time_limit_stops_and_the_same_command_goes_on(small_tables: SmallTables) -> None:
    arguments = ["--table=1", "--system=f", "--seeds=1"]
    before = {path: path.read_bytes() for path in (small_tables.root / "results").glob("table-1.*")}
    stopped = small_tables.command("reproduce", *arguments, "--minutes=0")
    assert stopped.exit_code == 130, stopped.output
    finished = small_tables.command("reproduce", *arguments)
    assert finished.exit_code == 0, finished.output
    sources = {name: row["source"] for name, row in small_tables.table(1).items()}
    for path, content in before.items():  # of two seeds
        path.write_bytes(content)
    assert sources["CIN (F)"] == "ours"
    assert sources["Baseline"] == "ours", "rows that were not asked for keep what is known of them"


def test_what_cannot_be_run_does_not_keep_the_rest_from_running(small_tables: SmallTables, tmp_path: Path) -> None:
    """A start that fits one of two systems, and no images of 2016: said in the plan, and at the end."""
    data = Path(shutil.copytree(small_tables.data / "isic2017", tmp_path / "data" / "isic2017")).parent
    save_file(make_stages().state_dict(), tmp_path / "resnet18.safetensors")
    arguments = [
        *("--system=baseline", "--system=resnet50", "--seeds=1", f"--data={data}"),
        *(f"--{folder}={tmp_path / folder}" for folder in ("runs", "results")),
        *("--set", f"start={tmp_path / 'resnet18.safetensors'}", f"--ledger={tmp_path / 'ledger.jsonl'}"),
    ]
    planned = small_tables.command("reproduce", *arguments, "--plan")
    assert planned.exit_code == 0, planned.output
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "isic2017/resnet50/seed-0 cannot be run here: " in said
    assert "isbi2016/resnet50/seed-0 cannot be run here: " in said
    assert "3 of 4 trials cannot be run here" in said
    assert "table 2 is not written: " in said
    rows = json.loads((tmp_path / "results" / "table-3.json").read_text())["rows"]
    assert {row["system"] for row in rows if row["source"] == "ours"} == {"baseline"}
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--table=4"], "there is no table 4"), (["--system=vgg"], "there is no vgg")]
)
def test_mistakes(small_tables: SmallTables, arguments: list[str], message: str) -> None:
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
