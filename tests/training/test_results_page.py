"""``docs/RESULTS.md`` says what is in ``results/``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model_training.choices import CHOICES
from model_training.data.isic import CLASSES_2017, read_set
from model_training.predictions import read_predictions
from model_training.statistics import delong_test
from model_training.tables import TABLE_1, TABLE_3, Table
from model_training.trials import TrialRecord
from service.bundle import load_bundle
from service.settings import SHIPPED_BUNDLE
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "RESULTS.md").read_text(encoding="utf-8")
RESULTS = REPOSITORY / "results"
SHIPPED = "cin-isic2017-1.4.0"
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
        f"A costs {-100 * keratosis['difference']:.1f} points there ({interval})",
    ):
        assert text in said, text


def test_what_the_text_says_of_f() -> None:
    learnt = [weight for system in ("f", "af", "cin") for weight in outcome(system).attention_weights.values()]
    assert len(learnt) == 2 + 2 + 4
    said = " ".join(section("Table 1").split())
    assert f"end between {min(learnt):.3f} and {max(learnt):.3f} in `f`, `af` and `cin`" in said


def test_what_the_text_says_of_longer_training() -> None:
    said = " ".join(section("The shipped model").split())
    figures = read_json("cin-20-epochs/validation.json")["metrics"]
    longer = " / ".join(f"{figures[task]:.3f}" for task in TASKS)
    assert f"(`--set recognition.epochs=20`): {longer} on validation" in said
    first, last = (_epochs(name)[-1]["classification"] for name in ("cin-isic2017-1.1.0", "cin-20-epochs"))
    assert f"from {first:.3f} to {last:.3f}" in said


def test_releases_are_those_that_were_evaluated() -> None:
    shown = rows("The shipped model")
    manifest = load_bundle(SHIPPED_BUNDLE).manifest
    assert f"`cin-isic2017` {manifest.version} " in section("The shipped model")
    assert list(shown)[-1] == manifest.version
    assert manifest.provenance.metrics["isic2017-test"] == read_json(f"{SHIPPED}/test.json")["metrics"]
    for version, cells in shown.items():
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


def test_what_the_text_says_of_equally_likely_classes(data_root: Path) -> None:
    """From the branches' answers, with each class's share of the training set divided out again."""
    said = " ".join(section("The shipped model").split())
    shares = np.array([374, 254, 1372]) / 2000
    found = {}
    for version in ("1.2.0", "1.4.0"):
        for split in ("validation", "test"):
            samples = read_set(data_root, f"isic2017-{split}", allow_missing=True).samples
            labels = {sample.id: sample.label for sample in samples}
            answers = np.genfromtxt(RESULTS / f"cin-isic2017-{version}" / f"{split}-branches.csv", str, delimiter=",")
            branches = answers[1:, 1:].astype(np.float64).reshape(-1, 2, 3) / shares
            level = (branches / branches.sum(axis=2, keepdims=True)).mean(axis=1)
            truth = np.array([labels[id] for id in answers[1:, 0]])
            found[version, split] = np.mean([roc_auc_score(truth == k, level[:, k]) for k in range(2)])
    before, now = ([f"{found[v, split]:.3f}" for split in ("validation", "test")] for v in ("1.2.0", "1.4.0"))
    assert f"1.2.0 has a mean of {before[0]} on validation and {before[1]} on test" in said
    assert f"1.4.0 has {now[0]} and {now[1]}." in said


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
        figures = [f"{metric['mean']:.3f}" for metric in (*aucs, mean)]
        assert shown[choice["name"]] == [*figures, gain, str(len(choice["folds"]))]


def test_choices_that_were_not_run_are_named() -> None:
    run = {choice["name"] for choice in read_json("choices-at-128/cross-validation.json")["choices"]}
    (listed,) = re.findall(r"^Not run: (.+?)\.$", section("What the paper leaves open"), flags=re.MULTILINE | re.DOTALL)
    # The short configuration's own optimiser is no choice against itself.
    assert set(re.findall(r"`([\w-]+)`", listed)) == CHOICES.keys() - run - {"adamw-cosine"}


@pytest.mark.parametrize("system", ["d", "cin"])
def test_what_the_text_says_of_d(system: str) -> None:
    row = next(row for row in read_json("table-1.json")["rows"] if row["system"] == system)
    *tasks, mean = row["against_control"]
    said = " ".join(section("Table 1").split())
    assert f"{-mean['difference']:.3f} less" in said
    assert f"({mean['low']:+.3f} to {mean['high']:+.3f})" in said
    if system == "d":
        assert f"(melanoma: {tasks[0]['difference']:+.3f}, p {tasks[0]['p']:.3f})" in said
    epochs = _epochs("cin-isic2017-1.1.0")
    for name in ("classification", "distinguish"):
        assert f"{epochs[0][name]:.3f}" in said
        assert f"{epochs[-1][name]:.3f}" in said


def test_what_the_text_says_of_the_number_of_tests() -> None:
    rows_ = read_json("table-1.json")["rows"]
    ps = [t["p"] for row in rows_ for key in ("against_baseline", "against_control") for t in row[key] if t["p"]]
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
    melanoma, keratosis, mean = (
        f"{figures['gain']:+.3f} ({figures['low']:+.3f} to {figures['high']:+.3f})"
        for figures in recipe["metrics"].values()
    )
    said = " ".join(section("The shipped model").split())
    told = f"gain {mean} in the mean over all five folds of the cross-validation (`shipped-recipe`)"
    assert f"{told}: melanoma {melanoma}, keratosis {keratosis}." in said
