"""``docs/RESULTS.md`` says what is in ``results/``."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from model_training.tables import TABLE_1, TABLE_3, Table
from model_training.trials import TrialRecord
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "RESULTS.md").read_text(encoding="utf-8")
RESULTS = REPOSITORY / "results"
TASKS = ("melanoma_auc", "seborrheic_keratosis_auc", "mean_auc")


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}.*?(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def rows(title: str) -> dict[str, list[str]]:
    lines = re.findall(r"^\| `([\w-]+)` \|(.+)\|$", section(title), flags=re.MULTILINE)
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
    melanoma, keratosis = row["against_baseline"]
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
    shown = [" / ".join(f"{figures[task]:.3f}" for task in TASKS) for figures in _shipped_and_longer()]
    shipped, tested, longer = shown
    assert f"validation {shipped}, test {tested} (melanoma, SK, mean)" in said
    assert f"(`--set recognition.epochs=20`): {longer} on validation" in said
    first, last = (_epochs(name)[-1]["classification"] for name in ("cin-isic2017-1.1.0", "cin-20-epochs"))
    assert f"from {first:.3f} to {last:.3f}" in said


def _shipped_and_longer() -> list[dict[str, float]]:
    names = ("cin-isic2017-1.1.0/validation.json", "cin-isic2017-1.1.0/test.json", "cin-20-epochs/validation.json")
    return [read_json(name)["metrics"] for name in names]


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


def test_what_the_text_says_of_crops() -> None:
    crops, said = read_json("crops.json"), " ".join(section("Table 1").split())
    assert f"{crops['magnified']['share']:.0%}".replace("%", " % of the crops") in said
    assert f"the median one is magnified {crops['magnified']['factor']['p50']:.2f} times" in said
    assert f"an AUC of {crops['classes']['melanoma']['auc_of_lesion_size']:.3f} on the training set" in said
