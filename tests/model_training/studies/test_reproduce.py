"""The paper's tables: what is printed, the trials behind our figures, and the results that come of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.config import load_config
from model_training.data.isic import read_set
from model_training.evaluation.predictions import read_predictions
from model_training.evaluation.statistics import interval_over_folds
from model_training.network.feature_extraction import ResNetStages
from model_training.studies.ablations import ABLATIONS, fold_trials
from model_training.studies.paper_tables import SYSTEMS, TABLES
from model_training.studies.plan import runnable
from model_training.studies.reproduce import table_trials
from model_training.studies.table_report import head, markdown, printed_inconsistencies, table_result
from model_training.studies.trials import Trial, TrialError, run_trials
from model_training.training.experiment import Experiment
from service.bundle import file_sha256
from tests.conftest import REPOSITORY
from tests.model_training.conftest import SETTINGS
from tests.synthetic import write_isic2016, write_isic2017


@pytest.mark.parametrize("number", TABLES)
def test_every_row_is_published_or_ours(number: int) -> None:
    table = TABLES[number]
    for row in table.rows:
        assert row.paper or row.system, row.name
        assert set(row.paper) <= set(table.metrics), row.name
        assert all(0 < figure < 1 for figure in row.paper.values())
    assert table.baseline is None or table.baseline in table.systems()


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_a_valid_configuration(system: str) -> None:
    network = load_config(None, SYSTEMS[system]).network
    assert network.distinguish == (system in ("d", "cin", "sdl"))
    assert network.lesion_area_attention == (system in ("a", "af", "af-two-branches", "cin"))
    assert network.lesion_feature_attention == (system in ("f", "af", "af-two-branches", "cin"))


@pytest.mark.parametrize("choice", ABLATIONS)
def test_every_choice_is_a_valid_configuration_that_changes_something(choice: str) -> None:
    changed = load_config(None, [*ABLATIONS[choice]]) != load_config(None)
    assert changed == (choice not in ("base", "sgd-step")), "the paper's own protocol is the default"


@pytest.mark.parametrize(("base", "same"), [((), "sgd-step"), (ABLATIONS["adamw-cosine"], "adamw-cosine")])
def test_choices_that_change_nothing_are_not_tried(base: tuple[str, ...], same: str, tmp_path: Path) -> None:
    template = Experiment(load_config(None), tmp_path, tmp_path, tmp_path, Console(quiet=True))
    trials = fold_trials(template, tmp_path, config=None, assignments=base)
    assert {trial.variant for trial in trials} == ABLATIONS.keys() - {same}


def test_the_shipped_recipe_is_what_the_shipped_model_changes() -> None:
    configs = REPOSITORY / "model_training" / "configs"
    recipe = load_config(configs / "isic2017-cpu.toml", ABLATIONS["shipped-recipe"])
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


def test_printed_rows_that_contradict_themselves() -> None:
    """Reckoned by hand: (90 x 0.678 + 510 x 0.869) / 600 = 0.840; (0.883 + 0.961) / 2 = 0.922."""
    keratosis = "Baseline, seborrheic keratosis: SE 0.678 and SP 0.869 on 90 of 600 imply ACC 0.840, printed 0.863"
    assert keratosis in printed_inconsistencies(TABLES[1])
    assert not any(text.startswith(("CIN (A),", "CIN (F),", "CIN (D),")) for text in printed_inconsistencies(TABLES[1]))
    assert "RHN: the AUCs of the sub-tasks average 0.922, printed 0.926" in printed_inconsistencies(TABLES[3])
    assert not any(text.startswith("SDL") for text in printed_inconsistencies(TABLES[3]))
    assert printed_inconsistencies(TABLES[2]) == []


def test_column_heads() -> None:
    assert head("seborrheic_keratosis_accuracy_argmax") == "seborrheic keratosis ACC"
    assert head("mean_auc") == "mean AUC"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the bootstrap samples, and plans that time no network; those take longer than the small trainings."""
    for module in ("table_report", "ablations"):
        monkeypatch.setattr(f"model_training.studies.{module}.NUM_RESAMPLES", 200)
    for timed in ("time_area_batch", "time_recognition_batch"):
        monkeypatch.setattr(f"model_training.studies.plan.{timed}", lambda config: 1.0)


class SmallTables:
    """The command that reruns tables, on synthetic sets."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, root / "data"
        write_isic2017(self.data, size=48, train=16, validation=9, test=12, seed=1)
        write_isic2016(self.data, size=48, train=20, test=8, seed=2)

    settings = (*SETTINGS, "data.frame_size=48", "network.size=32", "area.epochs=1")

    def command(self, name: str, *arguments: str) -> Result:
        options = [f"--{option}={self.root / option}" for option in ("data", "cache", "runs", "results")]
        assignments = [part for setting in self.settings for part in ("--set", setting)]
        if name == "reproduce":
            options.append(f"--ledger={self.root / 'ledger.jsonl'}")
        return CliRunner().invoke(app, [name, *assignments, *options, *arguments])

    def trial(self, system: str) -> Trial:
        """The first seed's trial of Table 1, as the command makes it."""
        data, cache, runs = (self.root / name for name in ("data", "cache", "runs"))
        template = Experiment(load_config(None), data, cache, runs, Console(quiet=True))
        trials = table_trials(
            [TABLES[1]],
            template,
            self.root / "results" / "trials",
            config=None,
            assignments=self.settings,
            num_seeds=1,
        )
        return next(trial for trial in trials if trial.variant == system)

    def table(self, number: int) -> dict[str, dict[str, object]]:
        result = json.loads((self.root / "results" / f"table-{number}.json").read_text())
        return {row["name"]: row for row in result["rows"]}


@pytest.fixture(scope="module")
def small_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallTables]:
    """Two systems of Table 1 with two seeds, and one of Table 2 with one."""
    root = tmp_path_factory.mktemp("tables")
    small = SmallTables(root)
    for arguments in (
        ("--table=1", "--system=baseline", "--system=a", "--seeds=2"),
        ("--table=2", "--system=cin", "--seeds=1"),
    ):
        result = small.command("reproduce", *arguments)
        assert result.exit_code == 0, result.output
    yield small
    shutil.rmtree(root)


def test_our_figures_are_those_of_the_predictions(small_tables: SmallTables) -> None:
    truth = np.array([s.label for s in read_set(small_tables.data, "isic2017-test").samples])
    classes = ("melanoma", "seborrheic_keratosis", "nevus")
    trials = small_tables.root / "results" / "trials" / "isic2017"
    for name, system in (("Baseline", "baseline"), ("CIN (A)", "a")):
        aucs = []
        for seed in (0, 1):
            _, probabilities = read_predictions(trials / system / f"seed-{seed}" / "predictions.csv", classes)
            aucs.append(roc_auc_score(truth == 1, probabilities[:, 1]))
        row = small_tables.table(1)[name]
        assert row["source"] == "ours"
        assert row["seeds"] == [0, 1]
        figures = row["metrics"]["seborrheic_keratosis_auc"]  # type: ignore[index]
        assert figures["mean"] == pytest.approx(np.mean(aucs))
        assert figures["std"] == pytest.approx(np.std(aucs, ddof=1))
        assert figures["low"] <= figures["mean"] <= figures["high"]
        assert figures["difference"] == pytest.approx(figures["mean"] - figures["paper"])


def test_a_class_that_the_test_set_lacks_leaves_its_figures_out(small_tables: SmallTables) -> None:
    """As with ``data.allow_missing`` and a part of the pictures."""
    whole = read_set(small_tables.data, "isic2017-test")
    without_keratosis = [replace(sample, label=2) if sample.label == 1 else sample for sample in whole.samples]
    trials = [small_tables.trial(system) for system in ("baseline", "a")]
    result = table_result(TABLES[1], trials, replace(whole, samples=tuple(without_keratosis)), command="")
    json.dumps(result, allow_nan=False)
    row = next(row for row in result["rows"] if row["system"] == "a")
    assert row["metrics"]["seborrheic_keratosis_auc"]["mean"] is None
    assert row["metrics"]["melanoma_auc"]["mean"] is not None
    assert [test["task"] for test in row["against_baseline"]] == ["melanoma"]


def test_seeds_may_come_from_different_machines(small_tables: SmallTables) -> None:
    path = small_tables.root / "results" / "trials" / "isic2017" / "a" / "seed-1" / "trial.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "machine": "another machine"}))
    result = small_tables.command("reproduce", "--table=1", "--system=a", "--seeds=2")
    path.write_text(before)
    assert result.exit_code == 0, result.output
    machine = str(small_tables.table(1)["CIN (A)"]["machine"])
    assert machine.endswith("; another machine")
    assert machine in (small_tables.root / "results" / "table-1.md").read_text()


def test_rows_say_where_their_figures_come_from(small_tables: SmallTables) -> None:
    first, second = small_tables.table(1), small_tables.table(2)
    assert first["CIN (A+F+D)"]["source"] == "not run"
    assert second["DCNN-FV"]["source"] == "published"
    ours = second["CIN (ours)"]
    assert (ours["source"], ours["seeds"], ours["input_size"]) == ("ours", [0], 32)
    assert ours["start"] == "none (random weights)"
    assert ours["metrics"]["malignant_auc"]["std"] is None  # type: ignore[index]


def test_systems_are_tested_against_the_baseline(small_tables: SmallTables) -> None:
    tests = small_tables.table(1)["CIN (A)"]["against_baseline"]
    assert [(t["seed"], t["task"]) for t in tests] == [  # type: ignore[attr-defined]
        (seed, task) for seed in (0, 1) for task in ("melanoma", "seborrheic_keratosis", "mean")
    ]
    assert [t["p"] is None for t in tests] == [False, False, True] * 2  # type: ignore[attr-defined]
    assert small_tables.table(1)["Baseline"]["against_baseline"] == []


def test_the_mean_gain_is_that_of_the_mean_aucs_and_has_a_control(small_tables: SmallTables) -> None:
    """``a`` plays a network with a control: what it is compared with is a matter of the row alone."""
    test = read_set(small_tables.data, "isic2017-test")
    rows = tuple(replace(row, control="baseline" if row.system == "a" else None) for row in TABLES[1].rows)
    trials = [small_tables.trial(system) for system in ("baseline", "a")]
    result = table_result(replace(TABLES[1], rows=rows), trials, test, command="")
    means = {row["system"]: row["metrics"]["mean_auc"]["mean"] for row in result["rows"]}
    row = next(row for row in result["rows"] if row["system"] == "a")
    assert row["against_control"] == row["against_baseline"]
    gain = row["against_control"][-1]
    assert gain["difference"] == pytest.approx(means["a"] - means["baseline"])
    assert gain["low"] <= gain["difference"] <= gain["high"]
    assert "6 in all" not in markdown(result)
    assert "4 in all, without correction" in markdown(result)


def test_the_text_names_the_contradiction_and_no_folder(small_tables: SmallTables) -> None:
    text = (small_tables.root / "results" / "table-1.md").read_text()
    assert "imply ACC 0.840, printed 0.863" in text, "a row that contradicts itself"
    assert "cin-train" in text
    everything = "".join(p.read_text() for p in (small_tables.root / "results").rglob("*") if p.is_file())
    assert str(small_tables.root) not in everything


def test_trials_are_not_run_by_several_processes_at_once(
    small_tables: SmallTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun would."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrialError, match="instead of torchrun start one command for each GPU"):
        run_trials([small_tables.trial("d")], Console(quiet=True), ledger=small_tables.root / "ledger.jsonl")


def test_finished_trials_are_not_run_again(small_tables: SmallTables) -> None:
    readings = (small_tables.root / "ledger.jsonl").read_text().splitlines()
    assert len(readings) == 5
    assert json.loads(readings[0])["purpose"] == "isic2017/baseline/seed-0"
    result = small_tables.command("reproduce", "--table=1", "--system=baseline", "--seeds=2")
    assert result.exit_code == 0
    assert "finished" in result.output
    assert (small_tables.root / "ledger.jsonl").read_text().splitlines() == readings


def test_the_systems_of_a_seed_share_the_first_stage(small_tables: SmallTables) -> None:
    found = sorted(
        p.relative_to(small_tables.root / "runs") for p in small_tables.root.rglob("area/weights.safetensors")
    )
    assert [str(path.parent.parent) for path in found] == [
        "isbi2016/lesion-area/seed-0",
        "isic2017/lesion-area/seed-0",
        "isic2017/lesion-area/seed-1",
    ]


def test_a_share_of_the_2016_training_set_is_held_out_by_the_seed(small_tables: SmallTables) -> None:
    record = json.loads(
        (small_tables.root / "results" / "trials" / "isbi2016" / "cin" / "seed-0" / "trial.json").read_text()
    )
    assert record["validation"]["num_pictures"] == 4
    assert record["evaluated_on"] == "isic2016-test"
    weights = load_file(small_tables.root / "runs" / "isbi2016" / "cin" / "seed-0" / "recognition/weights.safetensors")
    attention = {f"branches.{branch}.attention.{name}" for branch in (0, 1) for name in ("alpha", "beta")}
    assert record["attention_weights"] == {name: pytest.approx(float(weights[name])) for name in attention}


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


@pytest.mark.parametrize(("config", "results"), [("isic2017", "protocol"), ("isic2017-cpu", ".")])
def test_the_outcomes_in_the_repository_are_in_nobodys_way(config: str, results: str, tmp_path: Path) -> None:
    """``make reproduce`` and the command of ``docs/reproduction.md`` both go on where they are."""
    template = Experiment(load_config(None), tmp_path, tmp_path, tmp_path, Console(quiet=True))
    folder, path = REPOSITORY / "results" / results / "trials", REPOSITORY / f"model_training/configs/{config}.toml"
    settings = ["data.allow_missing=true"] if config.endswith("cpu") else []
    tables = [TABLES[1], TABLES[3]]
    trials = table_trials(tables, template, folder, config=path, assignments=settings, num_seeds=1)
    found = [trial.variant for trial in trials if trial.record() is not None]
    assert len(found) == len(list(folder.glob("isic2017/*/seed-0/trial.json")))
    assert found or config == "isic2017"


def test_a_time_limit_stops_and_the_same_command_goes_on(small_tables: SmallTables) -> None:
    arguments = ["--table=1", "--system=f", "--seeds=1"]
    stopped = small_tables.command("reproduce", *arguments, "--minutes=0")
    assert stopped.exit_code == 130, stopped.output
    finished = small_tables.command("reproduce", *arguments)
    assert finished.exit_code == 0, finished.output
    sources = {name: row["source"] for name, row in small_tables.table(1).items()}
    assert sources["CIN (F)"] == "ours"
    assert sources["Baseline"] == "ours", "rows that were not asked for keep what is known of them"


def test_an_outcome_from_before_a_key_is_kept(small_tables: SmallTables) -> None:
    path = small_tables.root / "results" / "trials" / "isic2017" / "baseline" / "seed-0" / "trial.json"
    before = path.read_text()
    record = json.loads(before)
    del record["config"]["network"]["attention_start"]
    path.write_text(json.dumps(record))
    result = small_tables.command("reproduce", "--table=1", "--system=baseline", "--seeds=1")
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


def test_another_configuration_is_not_mixed_in(small_tables: SmallTables) -> None:
    arguments = ["--table=1", "--system=baseline", "--seeds=1", "--set", "recognition.learning_rate=0.5"]
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert "another configuration" in result.output


def test_another_precision_is_not_mixed_in(small_tables: SmallTables) -> None:
    arguments = ["--table=1", "--system=baseline", "--seeds=1", "--set", "precision=bf16-mixed"]
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert "was trained in 32-true, which would be bf16-mixed here; set precision=32-true" in " ".join(
        result.output.split()
    )


def test_another_start_is_not_mixed_in(small_tables: SmallTables, tmp_path: Path) -> None:
    save_file(ResNetStages().state_dict(), tmp_path / "weights.safetensors")
    start = f"start={tmp_path / 'weights.safetensors'}"
    arguments = ["--table=1", "--system=baseline", "--seeds=3", "--set", start]
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert "is the outcome of another start, none (random weights)" in " ".join(result.output.split())
    assert not (small_tables.root / "runs" / "isic2017" / "baseline" / "seed-2").exists()


def test_what_cannot_be_run_does_not_keep_the_rest_from_running(small_tables: SmallTables, tmp_path: Path) -> None:
    """A start that fits one of two systems, and no pictures of 2016: said in the plan, and at the end."""
    data = Path(shutil.copytree(small_tables.data / "isic2017", tmp_path / "data" / "isic2017")).parent
    save_file(ResNetStages().state_dict(), tmp_path / "resnet18.safetensors")
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


def test_a_start_that_has_seen_test_pictures_is_refused_before_training(
    small_tables: SmallTables, tmp_path: Path
) -> None:
    save_file(ResNetStages().state_dict(), tmp_path / "weights.safetensors")
    seen = read_set(small_tables.data, "isic2017-test").samples[2].id
    (tmp_path / "pictures.csv").write_text(f"id,sha256\n{seen},\n")
    start = f"start={tmp_path / 'weights.safetensors'}"
    result = small_tables.command(
        "reproduce", "--table=1", "--system=baseline", "--seeds=1", f"--results={tmp_path}", "--set", start
    )
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert f"cannot be run here: 1 of the 12 pictures of isic2017-test were trained on ({seen})" in said


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


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--table=4"], "there is no table 4"), (["--system=vgg"], "there is no vgg")]
)
def test_mistakes(small_tables: SmallTables, arguments: list[str], message: str) -> None:
    result = small_tables.command("reproduce", *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


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


def test_sets_that_are_not_used_are_not_asked_for(small_tables: SmallTables, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small_tables.data / "isic2016", tmp_path / "isic2016")).parent
    settings = ("start=none", "data.train=isic2016-train", "data.holdout=0.2", "data.frame_size=48")
    assignments = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["prepare", *assignments, f"--data={data}", f"--cache={tmp_path / 'cache'}"])
    assert result.exit_code == 0, result.output
    assert "16 pictures" in result.output
