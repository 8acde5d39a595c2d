"""``docs/RESULTS.md`` says what is in ``results/``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model_training.config import NUM_FOLDS
from model_training.data.isic import CLASSES_2017, read_set
from model_training.evaluation.predictions import read_predictions
from model_training.evaluation.statistics import delong_test, interval_over_folds, stratified_resamples
from model_training.metrics import area_under_roc
from model_training.studies.ablation_report import ablation_markdown
from model_training.studies.ablations import ABLATIONS
from model_training.studies.paper_tables import TABLE_1, TABLE_2, TABLE_3, Table
from model_training.studies.table_report import markdown
from model_training.studies.trials import TrialRecord
from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "RESULTS.md").read_text(encoding="utf-8")
RESULTS = REPOSITORY / "results"
SHIPPED = "cin-isic2017-1.4.0"
# Of the classes in the training set.
SHARES = np.array([374, 254, 1372]) / 2000
TASKS = ("melanoma_auc", "seborrheic_keratosis_auc", "mean_auc")


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}.*?(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def rows(title: str) -> dict[str, list[str]]:
    lines = re.findall(r"^\| `([\w.-]+)` \|(.+)\|$", section(title), flags=re.MULTILINE)
    return {system: [cell.strip() for cell in cells.split("|")] for system, cells in lines}


@pytest.mark.parametrize("table", [TABLE_1, TABLE_3], ids=lambda table: f"table-{table.number}")
def test_rows_are_those_of_the_trials(table: Table) -> None:
    shown = rows(f"Table {table.number}")
    assert shown
    printed = {row.system: row.paper.get("seborrheic_keratosis_auc") for row in table.rows}
    for system, cells in shown.items():
        trial = RESULTS / "trials" / table.challenge.name / system / "seed-0" / "trial.json"
        record = TrialRecord.model_validate_json(trial.read_text(encoding="utf-8"))
        paper = printed[system]
        ours = [f"{figures[task]:.3f}" for figures in (record.validation, record.metrics) for task in TASKS]
        assert cells == ["-" if paper is None else f"{paper:.3f}", *ours], system


def test_rows_of_2016_are_those_of_the_trials() -> None:
    shown = rows("Table 2")
    ran = {folder.name for folder in (RESULTS / "trials" / "isbi2016").iterdir()}
    assert shown.keys() == ran
    printed = {row.system: row.paper for row in TABLE_2.rows}
    for system, cells in shown.items():
        record = _record(RESULTS / "trials" / "isbi2016" / system / "seed-0" / "trial.json")
        paper = [f"{printed[system][name]:.3f}" if name in printed[system] else "-" for name in TABLE_2.metrics]
        held_out = f"{record.validation['malignant_auc']:.3f}"
        assert cells == [*paper, held_out, *(f"{record.metrics[name]:.3f}" for name in TABLE_2.metrics)], system
    said = " ".join(section("Table 2").split())
    table = read_json("table-2.json")
    pictures, missing = table["num_pictures"], table["missing_pictures"]
    assert f"{pictures} of the {pictures + missing} test pictures" in said
    left_out = [row["system"] for row in table["rows"] if row["source"] == "not run"]
    assert set(re.findall(r"`([\w-]+)`", said.partition("Not run: ")[2].partition(".")[0])) == set(left_out)


def test_what_the_text_says_of_other_seeds() -> None:
    seeds = [_record(RESULTS / f"trials/isic2017/baseline/seed-{seed}/trial.json") for seed in range(3)]
    said = " ".join(section("Table 1").split())
    for figures in ([seed.metrics for seed in seeds], [seed.validation for seed in seeds]):
        means = [f["mean_auc"] for f in figures]
        first, *others = (f"{mean:.3f}" for mean in means)
        assert f"{first}, {others[0]} and {others[1]}" in said
    for task in TASKS:
        assert f"{max(s.metrics[task] for s in seeds) - min(s.metrics[task] for s in seeds):.3f}" in said


def outcome(system: str) -> TrialRecord:
    path = RESULTS / "trials" / "isic2017" / system / "seed-0" / "trial.json"
    return TrialRecord.model_validate_json(path.read_text(encoding="utf-8"))


def read_json(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return fields


def test_what_the_text_says_of_a() -> None:
    a, baseline = outcome("a"), outcome("baseline")
    row = next(row for row in read_json("table-1.json")["rows"] if row["system"] == "a")
    melanoma, keratosis, _ = row["against_baseline"]
    said = " ".join(section("Table 1").split())
    interval = f"{keratosis['low']:+.3f} to {keratosis['high']:+.3f}"
    for text in (
        f"mean Jaccard {a.validation['mean_jaccard']:.3f} on validation, {a.metrics['mean_jaccard']:.3f} on test",
        f"(test AUC {melanoma['difference']:+.3f}, 95 % interval {melanoma['low']:+.3f} to {melanoma['high']:+.3f};",
        f"average precision {a.metrics['melanoma_ap']:.3f} against {baseline.metrics['melanoma_ap']:.3f}",
        f"With A it is {-100 * keratosis['difference']:.1f} points lower there ({interval})",
    ):
        assert text in said, text


def test_what_the_text_says_of_f() -> None:
    learnt = [weight for system in ("f", "af", "cin") for weight in outcome(system).attention_weights.values()]
    assert len(learnt) == 2 + 2 + 4
    said = " ".join(section("Table 1").split())
    assert f"end between {min(learnt):.3f} and {max(learnt):.3f} in `f`, `af` and `cin`" in said
    # An epoch of pairs has 62 steps, and its rate is that of its last one.
    for name in ("cin-isic2017-1.1.0", SHIPPED):
        assert f"{62 * sum(epoch['learning_rate'] for epoch in _epochs(name)):.3f} in" in said
    ends = [w for branch in read_json(f"{SHIPPED}/figures.json")["attention_weights"] for w in branch.values()]
    assert f"where they end between {min(ends):.3f} and {max(ends):.3f}" in said


def test_what_the_text_says_of_longer_training() -> None:
    said = " ".join(section("The shipped model").split())
    figures = read_json("cin-20-epochs/validation.json")["metrics"]
    longer = " / ".join(f"{figures[task]:.3f}" for task in TASKS)
    assert f"(`--set recognition.epochs=20`): {longer} on validation" in said
    first, last = (_epochs(name)[-1]["classification"] for name in ("cin-isic2017-1.1.0", "cin-20-epochs"))
    assert f"from {first:.3f} to {last:.3f}" in said


def test_releases_are_those_that_were_evaluated() -> None:
    releases = {name: cells for name, cells in rows("The shipped model").items() if name[0].isdigit()}
    manifest = load_bundle(SHIPPED_BUNDLE).manifest
    assert f"`cin-isic2017` {manifest.version} " in section("The shipped model")
    assert list(releases)[-1] == manifest.version
    assert manifest.provenance.metrics["isic2017-test"] == read_json(f"{SHIPPED}/test.json")["metrics"]
    for version, cells in releases.items():
        reports = [read_json(f"cin-isic2017-{version}/{split}.json")["metrics"] for split in ("validation", "test")]
        assert cells == [f"{figures[task]:.3f}" for figures in reports for task in TASKS]


def test_what_the_text_says_of_the_release() -> None:
    said = " ".join(section("The shipped model").split())
    assert f"{sum(epoch['seconds'] for epoch in _epochs(SHIPPED)) / 60:.0f} minutes" in said
    last = _epochs(SHIPPED)[-1]
    level = (last["auc_melanoma"] + last["auc_seborrheic_keratosis"]) / 2
    mixed = read_json(f"{SHIPPED}/validation.json")["metrics"]["mean_auc"]
    assert f"{level:.3f} with all classes equally likely, {mixed:.3f} so" in said
    calibration = read_json(f"{SHIPPED}/figures.json")["sets"]["isic2017-test"]["calibration"]
    for name, key in (("by class falls", "classwise_calibration_error"), ("Brier score", "brier_score")):
        before, after = (calibration[when][key]["value"] for when in ("before", "after"))
        assert f"{name} from {before:.3f} to {after:.3f}" in said
    named = [read_json(f"cin-isic2017-{v}/test.json")["metrics"] for v in ("1.4.0", "1.1.0")]
    now, before = (f"{100 * figures['melanoma_sensitivity_argmax']:.0f} %" for figures in named)
    assert f"for {now} of the melanomas in the test set, where it was for {before} of them in 1.1.0" in said
    assert now in (REPOSITORY / "docs" / "http.md").read_text(encoding="utf-8")


def test_what_the_text_says_of_pictures_without_advice() -> None:
    told = read_json(f"{SHIPPED}/abstention.json")
    shown = rows("Pictures without advice")
    for name in ("isic2017-validation", "isic2017-test", "not_dermoscopy"):
        counted = {m["variant"]: m for m in told["measured"] if m["measured_on"] == name}
        for variant, cell in zip(("fp32", "int8"), shown[name], strict=True):
            share, num = counted[variant]["abstained"], counted[variant]["num_pictures"]
            interval = f"{share['low']:.1%} to {share['high']:.1%}"
            assert cell == f"{round(share['value'] * num)} of {num}: {share['value']:.1%} ({interval})"
    degraded = read_json(f"{SHIPPED}/degraded.json")["degraded"]
    found = {f"{row['kind']}-{row['level']:g}": row for row in degraded}
    table = {name: cells for name, cells in shown.items() if name in found}
    assert len(table) == len(found)
    for name, cells in table.items():
        keys = ("sensitivity", "specificity", "abstained")
        assert cells == [f"{found[name][key]['value']:.2f}" for key in keys], name


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_release_follows_from_its_answers(split: str, data_root: Path) -> None:
    """The shipped figures and thresholds are those of the predictions that are kept beside them."""
    manifest, folder = load_bundle(SHIPPED_BUNDLE).manifest, RESULTS / SHIPPED
    report = read_json(f"{SHIPPED}/{split}.json")
    ids, probabilities = read_predictions(folder / f"{split}-predictions.csv", CLASSES_2017)
    labels = {sample.id: sample.label for sample in read_set(data_root, report["set"], allow_missing=True).samples}
    truth = np.array([labels[id] for id in ids])
    for k, task in enumerate(("melanoma", "seborrheic_keratosis")):
        assert roc_auc_score(truth == k, probabilities[:, k]) == pytest.approx(report["metrics"][f"{task}_auc"])
    assert manifest.provenance.metrics[report["set"]] == report["metrics"]
    assert report["temperature"] == manifest.temperature
    figures = read_json(f"{SHIPPED}/figures.json")
    assert json.loads((SHIPPED_BUNDLE / "figures.json").read_text()) == figures
    for point in figures["sets"][report["set"]]["operating_points"]:
        assert point["threshold"] == pytest.approx(manifest.operating_point(point["name"]).threshold, abs=1e-6)
        referred = probabilities[:, 0] >= point["threshold"]
        assert referred[truth == 0].mean() == pytest.approx(point["sensitivity"]["value"])
        assert 1 - referred[truth != 0].mean() == pytest.approx(point["specificity"]["value"])


def test_what_the_text_says_of_the_release_before(data_root: Path) -> None:
    samples = read_set(data_root, "isic2017-test", allow_missing=True).samples
    labels = {sample.id: sample.label for sample in samples}
    said = " ".join(section("The shipped model").split())
    (ids, ours), (same, before) = (
        read_predictions(RESULTS / f"cin-isic2017-{v}" / "test-predictions.csv", CLASSES_2017)
        for v in ("1.4.0", "1.2.0")
    )
    assert ids == same
    truth = np.array([labels[id] for id in ids])
    for k in range(2):
        gain = delong_test(truth == k, ours[:, k], before[:, k])
        assert f"{gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}" in said


def branches_with_equal_classes(release: str, split: str) -> np.ndarray:
    """Both branches' answers ``[N, 2, K]`` as if every class were equally likely."""
    path = RESULTS / release / f"{split}-branches.csv"
    ids, _ = read_predictions(path.with_name(f"{split}-predictions.csv"), CLASSES_2017)
    answers = np.genfromtxt(path, str, delimiter=",")[1:]
    assert answers[:, 0].tolist() == ids
    branches = answers[:, 1:].astype(np.float64).reshape(-1, 2, 3) / SHARES
    level: np.ndarray = branches / branches.sum(axis=2, keepdims=True)
    return level


def test_what_the_text_says_of_equally_likely_classes(data_root: Path) -> None:
    """From the branches' answers, with each class's share of the training set divided out again."""
    said = " ".join(section("The shipped model").split())
    found = {}
    for version in ("1.2.0", "1.4.0"):
        for split in ("validation", "test"):
            samples = read_set(data_root, f"isic2017-{split}", allow_missing=True).samples
            labels = {sample.id: sample.label for sample in samples}
            level = branches_with_equal_classes(f"cin-isic2017-{version}", split).mean(axis=1)
            ids, _ = read_predictions(RESULTS / f"cin-isic2017-{version}" / f"{split}-predictions.csv", CLASSES_2017)
            truth = np.array([labels[id] for id in ids])
            found[version, split] = np.mean([roc_auc_score(truth == k, level[:, k]) for k in range(2)])
    before, now = ([f"{found[v, split]:.3f}" for split in ("validation", "test")] for v in ("1.2.0", "1.4.0"))
    assert f"1.2.0 has a mean of {before[0]} on validation and {before[1]} on test" in said
    assert f"1.4.0 has {now[0]} and {now[1]}, beside `two-branches` with" in said
    plain = outcome("two-branches")
    assert f"with {plain.validation['mean_auc']:.3f} and {plain.metrics['mean_auc']:.3f}." in said


def _epochs(name: str) -> list[dict[str, float]]:
    lines = (RESULTS / name / "recognition.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_what_the_text_says_of_the_attention_as_printed() -> None:
    figures = read_json("literal-at-224/validation.json")["metrics"]
    shown = " / ".join(f"{figures[task]:.3f}" for task in TASKS)
    assert f"(`--set network.attention=literal`): {shown} on validation" in " ".join(
        section("The shipped model").split()
    )


def test_choices_are_those_of_the_cross_validation() -> None:
    shown, choices = rows("What the paper leaves open"), read_json("choices-at-128/cross-validation.json")["choices"]
    assert list(shown) == [choice["name"] for choice in choices]
    for choice in choices:
        *aucs, mean = choice["metrics"].values()
        gain = f"{mean['gain']:+.3f} ({mean['low']:+.3f} to {mean['high']:+.3f})" if "gain" in mean else "-"
        over_folds = f"{mean['folds_low']:+.3f} to {mean['folds_high']:+.3f}" if "folds_low" in mean else "-"
        figures = [f"{metric['mean']:.3f}" for metric in (*aucs, mean)]
        assert shown[choice["name"]] == [*figures, gain, over_folds, str(len(choice["folds"]))]


def test_no_choice_is_better_by_the_rule_but_the_recipe() -> None:
    choices = read_json("choices-at-128/cross-validation.json")["choices"]
    whole = [choice for choice in choices if len(choice["shared_folds"]) == 5 and choice["name"] != "base"]
    better = [choice["name"] for choice in whole if choice["metrics"]["mean_auc"]["folds_low"] > 0]
    assert better == ["shipped-recipe"]
    literal = next(choice["metrics"]["mean_auc"] for choice in whole if choice["name"] == "literal-attention")
    *gains, last = (f"{gain:+.3f}" for gain in literal["gain_by_fold"])
    said = " ".join(section("What the paper leaves open").split())
    assert f"gains {', '.join(gains)} and {last} in the mean" in said
    assert f"in all ({literal['folds_low']:+.3f} to {literal['folds_high']:+.3f} over the folds)" in said


def test_what_the_text_says_of_how_many_folds_there_are() -> None:
    choices = {choice["name"]: choice for choice in read_json("choices-at-128/cross-validation.json")["choices"]}
    folds = [len(choices[name]["folds"]) for name in choices.keys() - {"base"}]
    left_out = len(ABLATIONS.keys() - choices.keys() - {"adamw-cosine"})
    (falls_short,) = re.findall(r"^\*\*What falls short.*?(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL)
    said = f"{left_out} have no cross-validation, {folds.count(1)} have one fold, and {folds.count(5)} have five"
    assert said in " ".join(falls_short.split())
    assert set(folds) == {1, 5}


def test_choices_that_were_not_run_are_named() -> None:
    run = {choice["name"] for choice in read_json("choices-at-128/cross-validation.json")["choices"]}
    (listed,) = re.findall(r"^Not run: (.+?)\.$", section("What the paper leaves open"), flags=re.MULTILINE | re.DOTALL)
    # The short configuration's own optimiser is no choice against itself.
    assert set(re.findall(r"`([\w-]+)`", listed)) == ABLATIONS.keys() - run - {"adamw-cosine"}


def test_what_the_text_says_of_d() -> None:
    compared = {row["system"]: row["against_control"] for row in read_json("table-1.json")["rows"]}
    assert [system for system, tests in compared.items() if tests] == ["d"]
    melanoma, _, mean = compared["d"]
    said = " ".join(section("Table 1").split())
    assert f"{-mean['difference']:.3f} less mean AUC ({mean['low']:+.3f} to {mean['high']:+.3f})" in said
    assert f"(melanoma: {melanoma['difference']:+.3f}, p {melanoma['p']:.3f})" in said
    epochs = _epochs("cin-isic2017-1.1.0")
    for name in ("classification", "distinguish"):
        assert f"{epochs[0][name]:.3f}" in said
        assert f"{epochs[-1][name]:.3f}" in said


@pytest.mark.parametrize("number", [1, 2, 3])
def test_tables_for_reading_are_those_of_the_figures(number: int) -> None:
    assert (RESULTS / f"table-{number}.md").read_text(encoding="utf-8") == markdown(read_json(f"table-{number}.json"))


def test_choices_for_reading_are_those_of_the_figures() -> None:
    folder = RESULTS / "choices-at-128"
    result = read_json("choices-at-128/cross-validation.json")
    assert (folder / "cross-validation.md").read_text(encoding="utf-8") == ablation_markdown(result)


def test_what_the_text_says_of_the_time_it_took() -> None:
    """A first stage that several trials share took its time once."""

    def hours(trials: list[TrialRecord]) -> str:
        first_stages = {trial.seconds["area"] for trial in trials if "area" in trial.seconds}
        return f"{(sum(trial.seconds['recognition'] for trial in trials) + sum(first_stages)) / 3600:.1f} hours"

    tables = [_record(path) for path in (RESULTS / "trials" / "isic2017").rglob("seed-0/trial.json")]
    choices = [_record(path) for path in (RESULTS / "choices-at-128").rglob("trial.json")]
    said = " ".join(section("What was run").split())
    assert f"all nine rows {hours(tables)}, the cross-validation below {hours(choices)};" in said
    trials = ("isic2017/baseline/seed-1", "isic2017/baseline/seed-2", "isbi2016/baseline/seed-0", "isbi2016/cin/seed-0")
    later = [_record(RESULTS / "trials" / trial / "trial.json") for trial in trials]
    first, second, baseline, cin = (f"{sum(trial.seconds.values()) / 60:.0f}" for trial in later)
    assert f"seeds 1 and 2 of the baseline {first} and {second} minutes" in said
    assert f"the two rows of Table 2 {baseline} and {cin} |" in said


def _record(path: Path) -> TrialRecord:
    return TrialRecord.model_validate_json(path.read_text(encoding="utf-8"))


def test_what_the_text_says_of_the_number_of_tests() -> None:
    rows_ = read_json("table-1.json")["rows"]
    ps = [t["p"] for row in rows_ for key in ("against_baseline", "against_control") for t in row[key]]
    ps = [p for p in ps if p is not None]
    said = " ".join(section("Table 1").split())
    assert f"lists {len(ps)} tests" in said
    assert f"{sum(p < 0.05 for p in ps)} of them have p below 0.05" in said


def test_every_reading_of_the_test_set_is_of_a_kind_that_the_page_names() -> None:
    lines = [json.loads(line) for line in (RESULTS / "test-ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = r"release [\w-]+ [\d.]+|gate [\w-]+ [\d.]+ (int8|fp16)|abstention [\w-]+ [\d.]+"
    kinds += r"|(isic2017|isbi2016)/[\w-]+/seed-\d+"
    first, *others = [line.get("purpose", "") for line in lines]
    assert first == "", "the first release was read before purposes were kept"
    assert [purpose for purpose in others if not re.fullmatch(kinds, purpose)] == []


def test_what_the_text_says_of_crops() -> None:
    crops, said = read_json("crops.json"), " ".join(section("Table 1").split())
    assert f"{crops['magnified']['share']:.0%}".replace("%", " % of the crops") in said
    assert f"the median one is magnified {crops['magnified']['factor']['p50']:.2f} times" in said
    assert f"an AUC of {crops['classes']['melanoma']['auc_of_lesion_size']:.3f} on the training set" in said


def test_what_the_text_says_of_the_recipes_cross_validation() -> None:
    choices = read_json("choices-at-128/cross-validation.json")["choices"]
    recipe = next(choice for choice in choices if choice["name"] == "shipped-recipe")
    assert len(recipe["folds"]) == 5
    melanoma, keratosis, mean = recipe["metrics"].values()
    said = " ".join(section("The shipped model").split())
    told = f"gain {mean['gain']:+.3f} in the mean over all five folds of the cross-validation "
    told += f"({mean['low']:+.3f} to {mean['high']:+.3f} over the pictures, "
    told += f"{mean['folds_low']:+.3f} to {mean['folds_high']:+.3f} over the folds): "
    told += f"melanoma {melanoma['gain']:+.3f}, keratosis {keratosis['gain']:+.3f}, each not above zero over the folds"
    assert told in said
    assert max(melanoma["folds_low"], keratosis["folds_low"]) < 0
    others = np.array(mean["gain_by_fold"][1:])
    low, high = interval_over_folds(others, NUM_FOLDS)
    result = read_json("choices-at-128/cross-validation.json")
    plain = next(choice for choice in result["choices"] if choice["name"] == "plain-recipe")
    (control,) = result["controls"]
    assert (control["name"], control["against"]) == ("shipped-recipe", "plain-recipe")
    assert plain["folds"] == control["shared_folds"] == [1]
    over_base, over_plain = plain["metrics"]["mean_auc"], control["metrics"]["mean_auc"]
    told = f"{over_base['gain']:+.3f} over `base`; the recipe's own is different by {over_plain['gain']:+.3f} "
    assert f"{told}({over_plain['low']:+.3f} to {over_plain['high']:+.3f} over the pictures)" in said
    assert f"on the other four the mean gains {others.mean():+.3f} ({low:+.3f} to {high:+.3f} over the folds)" in said


def in_the_training_mix(probabilities: np.ndarray) -> np.ndarray:
    """Answers for which every class was equally likely, with each class's share of the training set."""
    mixed: np.ndarray = probabilities * SHARES
    return mixed / mixed.sum(axis=1, keepdims=True)


class Answers(NamedTuple):
    """The release's answers on the test set, and those of the tables' rows in the training mix."""

    truth: np.ndarray
    release: np.ndarray
    rows: dict[str, np.ndarray]

    def aucs(self, scores: np.ndarray, chosen: np.ndarray) -> list[float]:
        """Of melanoma and of seborrheic keratosis, on the pictures of these numbers."""
        return [float(area_under_roc(self.truth[chosen] == k, scores[chosen, k])) for k in range(2)]


@pytest.fixture(scope="module")
def on_one_footing(data_root: Path) -> Answers:
    labels = {s.id: s.label for s in read_set(data_root, "isic2017-test", allow_missing=True).samples}
    ids, release = read_predictions(RESULTS / SHIPPED / "test-predictions.csv", CLASSES_2017)
    found = {}
    for folder in (RESULTS / "trials" / "isic2017").iterdir():
        same, answers = read_predictions(folder / "seed-0" / "predictions.csv", CLASSES_2017)
        assert same == ids
        found[folder.name] = in_the_training_mix(answers)
    return Answers(np.array([labels[id] for id in ids]), release, found)


def test_the_release_beside_the_tables_on_one_footing(on_one_footing: Answers) -> None:
    truth, release, answers = on_one_footing
    everything, resamples = np.arange(len(truth)), list(stratified_resamples(truth, 2000, seed=0))
    aucs_of_release = [on_one_footing.aucs(release, r) for r in (everything, *resamples)]
    shown = {name: cells for name, cells in rows("The shipped model").items() if not name[0].isdigit()}
    assert shown.keys() == answers.keys()
    for system, row in answers.items():
        aucs = [on_one_footing.aucs(row, r) for r in (everything, *resamples)]
        more = np.mean(aucs_of_release, axis=1) - np.mean(aucs, axis=1)
        low, high = np.percentile(more[1:], [2.5, 97.5])
        expected = [f"{auc:.3f}" for auc in (*aucs[0], np.mean(aucs[0]))]
        assert shown[system] == [*expected, f"{more[0]:+.3f} ({low:+.3f} to {high:+.3f})"], system
    # Each branch converted, as the release does it, or their sum.
    summed = in_the_training_mix(branches_with_equal_classes(SHIPPED, "test").mean(axis=1))
    by_sum = np.mean(on_one_footing.aucs(summed, everything)) - np.mean(aucs_of_release[0])
    said = " ".join(section("The shipped model").split())
    assert f"for 1.4.0 that gives {by_sum:.3f} more than converting each" in said


def test_what_the_text_says_of_a_on_the_other_footing(on_one_footing: Answers) -> None:
    a, baseline = (on_one_footing.rows[system][:, 0] for system in ("a", "baseline"))
    gain = delong_test(on_one_footing.truth == 0, a, baseline)
    assert gain.low < 0
    assert f"only {gain.difference:+.3f} is left of it" in " ".join(section("Table 1").split())


def test_what_the_text_says_of_all_modules_together(on_one_footing: Answers) -> None:
    """As the rows of Table 1 are: every class equally likely."""
    truth = on_one_footing.truth
    cin, plain = (
        read_predictions(RESULTS / "trials/isic2017" / system / "seed-0/predictions.csv", CLASSES_2017)[1]
        for system in ("cin", "two-branches")
    )
    resamples = [np.arange(len(truth)), *stratified_resamples(truth, 2000, seed=0)]
    more = [np.mean(on_one_footing.aucs(cin, r)) - np.mean(on_one_footing.aucs(plain, r)) for r in resamples]
    low, high = np.percentile(more[1:], [2.5, 97.5])
    keratosis = delong_test(truth == 1, cin[:, 1], plain[:, 1])
    told = f"have {-more[0]:.3f} less than `two-branches` ({low:+.3f} to {high:+.3f}; "
    told += f"keratosis: {keratosis.difference:+.3f}, p {keratosis.p:.3f})"
    assert told in " ".join(section("Table 1").split())


def test_what_the_text_says_of_int8() -> None:
    told = read_json(f"{SHIPPED}/referrals.json")
    found = {(row["operating_point"], row["variant"]): row for row in told["referrals"]}
    changed = {p: round(row["changed"]["value"] * told["num_pictures"]) for (p, v), row in found.items() if v == "int8"}
    assert {point for point, num in changed.items() if num} == {"high-sensitivity"}
    int8, float32 = (found["high-sensitivity", v]["specificity"]["value"] for v in ("int8", "fp32"))
    said = " ".join(section("The shipped model").split())
    assert (
        f"{changed['high-sensitivity']} of the {told['num_pictures']} validation pictures are referred otherwise"
        in said
    )
    assert f"(specificity {int8:.3f} in place of {float32:.3f})" in said


def test_what_the_text_says_of_copies(data_root: Path) -> None:
    groups = [
        (copy["same_bytes"], [place.split("/") for place in copy["places"]])
        for copy in read_json("audit.json")["copies"]
    ]

    def seen(name: str, *, same_bytes: bool | None = None) -> set[str]:
        """The pictures of a set that are in ISIC 2017 train under another id."""
        found: set[str] = set()
        for same, places in groups:
            if "isic2017-train" in {set_name for set_name, _ in places} and same_bytes in (None, same):
                found |= {id for set_name, id in places if set_name == name}
        return found

    in_test = seen("isic2017-test")
    same_file = seen("isic2017-test", same_bytes=True)
    within = sum([set_name for set_name, _ in places].count("isic2017-train") > 1 for _, places in groups)
    said = " ".join(section("What to know about the test set").split())
    assert f"finds {len(in_test)} of the 600 test pictures" in said
    assert f"{len(same_file)} the same file and {len(in_test - same_file)} that look alike" in said
    assert f"{len(seen('isic2017-validation'))} of the 150 validation pictures are copies of training pictures" in said
    assert f"and {within} groups are within train" in said
    of_validation = {
        id
        for _, places in groups
        if "isic2017-validation" in {set_name for set_name, _ in places}
        for set_name, id in places
        if set_name == "isic2017-test"
    }
    within_test = sum([set_name for set_name, _ in places].count("isic2017-test") > 1 for _, places in groups)
    assert f"{len(of_validation)} test pictures are copies of validation pictures" in said
    assert f"and {within_test} pairs are both in the test set" in said
    assert f"{len(read_json('audit.json')['conflicts'])} pictures have another label in 2016 than in 2017" in said
    samples = read_set(data_root, "isic2017-test", allow_missing=True).samples
    labels = {sample.id: sample.label for sample in samples}
    ids, answers = read_predictions(RESULTS / SHIPPED / "test-predictions.csv", CLASSES_2017)
    unseen = np.array([id not in in_test for id in ids])
    truth = np.array([labels[id] for id in ids])[unseen]
    melanoma, keratosis = (roc_auc_score(truth == k, answers[unseen, k]) for k in range(2))
    assert f"without them 1.4.0 has {melanoma:.3f} and {keratosis:.3f}" in said
    missing = next(s for s in read_json("audit.json")["sets"] if s["name"] == "isic2017-test")["missing_masks"]
    assert f"{len(missing)} of the 600 have no outline" in said
