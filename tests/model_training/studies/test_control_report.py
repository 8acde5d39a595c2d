"""The controls' tables."""

from __future__ import annotations

from model_training.studies.control_report import control_table


def test_a_row_is_the_mean_over_folds_and_seeds() -> None:
    records = {
        "sgd/crop-layer4/fold-1/seed-0": {"pair_auc": 0.50},
        "sgd/crop-layer4/fold-2/seed-0": {"pair_auc": 0.54},
        "adamw/crop-layer4/fold-1/seed-0": {"pair_auc": 0.70},
    }
    lines = control_table("distinguish", records).splitlines()
    assert lines[2:] == ["| sgd (crop-layer4) | 2 | 0.520 | -0.200 |", "| adamw (crop-layer4) | 1 | 0.700 | - |"]


def test_gains_are_paired_by_fold_and_seed() -> None:
    figures = {"adamw": [0.70, 0.72, 0.60], "he": [0.72, 0.74, 0.65]}
    records = {
        f"{recipe}/crop-layer4/fold-{fold}/seed-{seed}": {"pair_auc": value}
        for recipe, values in figures.items()
        for (fold, seed), value in zip([(1, 0), (1, 1), (2, 0)], values, strict=True)
    }
    row = control_table("distinguish", records).splitlines()[3]
    # Folds gained 0.02 and 0.05; t(0.975, 1) = 12.706, deviation 0.0212, share held out per trained on 1/4.
    assert "+0.035 (-0.198 to +0.268)" in row


def test_what_a_recipe_does_not_have_is_a_dash() -> None:
    gain = {"deletion_gain": {"mean": 0.1, "low": 0.05, "high": 0.15}}
    record = {"auc_on": 0.8, "effective_columns": 12.0, "faithfulness": {"gradient": gain}}
    row = control_table("attention", {"none/crop-layer4/fold-1/seed-0": record}).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["none (crop-layer4)", "1", "0.800", "-"]
    assert cells[8] == "12.0"
    assert cells[-2:] == ["+0.100 [+0.050]", "-"]
