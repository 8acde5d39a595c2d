"""The tables: our figures are those of the predictions, and each row says where it comes from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model_training.data.isic import read_set
from model_training.evaluation.predictions import read_predictions
from model_training.studies.comparisons import gains
from model_training.studies.paper_tables import TABLES
from model_training.studies.table_report import head, markdown, printed_inconsistencies, table_result
from tests.model_training.studies.small_tables import SmallTables


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


def test_our_figures_are_those_of_the_predictions(small_tables: SmallTables) -> None:
    # Other tests write the table for fewer systems or seeds.
    small_tables.command("reproduce", "--table=1", "--system=baseline", "--system=a", "--seeds=2")
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
    """As with ``data.allow_missing`` and a part of the images."""
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
        (seed, task) for seed in (0, 1, None) for task in ("melanoma", "seborrheic_keratosis", "mean")
    ]
    assert [t["p"] is None for t in tests] == [False, False, True] * 2 + [True] * 3  # type: ignore[attr-defined]
    assert small_tables.table(1)["Baseline"]["against_baseline"] == []


def test_seeds_that_disagree_widen_the_interval_over_both(small_tables: SmallTables) -> None:
    """Three seeds: where each gains the same, the interval is that of the images alone, and wider where they differ."""
    test = read_set(small_tables.data, "isic2017-test")
    labels = np.array([sample.label for sample in test.samples])
    right, wrong = np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]
    alike = gains(["mean_auc"], [(right, wrong)] * 3, None, labels, test.classes)[0]
    assert (alike["difference"], alike["low"], alike["high"]) == (0.75, 0.75, 0.75)
    differ = gains(["mean_auc"], [(right, wrong), (right, wrong), (right, right)], None, labels, test.classes)[0]
    assert differ["difference"] == pytest.approx(0.5)
    assert (differ["low"], differ["high"]) == (0, 0.75), "all three draws may fall on either kind"


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
