"""The paper's tables with the printed figures and ours, as ``table-N.json`` and, for readers, ``table-N.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_training.arrays import Indices, Scores
from model_training.data.pictures import PictureSet
from model_training.evaluation.evaluate import classification_figures
from model_training.evaluation.predictions import read_predictions
from model_training.evaluation.statistics import NUM_RESAMPLES, implied_accuracy, stratified_resamples
from model_training.files import write_json, write_text
from model_training.reporting import text
from model_training.studies.comparisons import against
from model_training.studies.paper_tables import HEADS, Row, Table
from model_training.studies.trials import PREDICTIONS, Trial, TrialRecord, provenance_of


def table_result(table: Table, trials: Sequence[Trial], test: PictureSet, *, command: str) -> dict[str, Any]:
    """The contents of ``table-N.json``: printed figures, our figures from the finished trials, and their difference.

    Ours: mean and standard deviation over the seeds, and the 95 % interval of that mean by stratified bootstrap over
    the test images.
    """
    finished: dict[str, list[tuple[TrialRecord, Scores]]] = {}
    labels = {sample.id: sample.label for sample in test.samples}
    for trial in trials:
        record = trial.record()
        if record is not None:
            ids, probabilities = read_predictions(trial.results / PREDICTIONS, test.classes)
            if ids != list(labels):
                raise ValueError(f"{trial.results / PREDICTIONS} is not about the images of {test.name}, in order")
            finished.setdefault(trial.variant, []).append((record, probabilities))
    truth = np.array(list(labels.values()))
    return {
        "table": table.number,
        "title": table.title,
        "test_set": test.name,
        "num_pictures": len(labels),
        "missing_pictures": len(test.missing_pictures),
        "command": command,
        "rows": [_row(table, row, finished, truth, test.classes) for row in table.rows],
        "printed_inconsistencies": printed_inconsistencies(table),
    }


def _row(
    table: Table,
    row: Row,
    finished: Mapping[str, list[tuple[TrialRecord, Scores]]],
    labels_N: Indices,
    classes: Sequence[str],
) -> dict[str, Any]:
    runs = finished.get(row.system or "", [])
    ours = _our_figures(table.metrics, [scores for _, scores in runs], labels_N, classes)
    metrics = {}
    for name in table.metrics:
        paper, figures = row.paper.get(name), ours.get(name, dict.fromkeys(("mean", "std", "low", "high")))
        difference = None if paper is None or figures["mean"] is None else figures["mean"] - paper
        metrics[name] = {"paper": paper, **figures, "difference": difference}
    records = [record for record, _ in runs]
    unknown: dict[str, Any] = {
        **dict.fromkeys(("input_size", "start", "machine", "precision")),
        "git_commits": [],
        "seconds": None,
    }
    return {
        "name": row.name,
        "system": row.system,
        "source": "ours" if records else "not run" if row.system else "published",
        "external_pictures": row.external,
        "metrics": metrics,
        "seeds": [record.seed for record in records],
        **(provenance_of(records) if records else unknown),
        "against_baseline": against(table.baseline, row, finished, labels_N, classes),
        "control": row.control,
        "against_control": against(row.control, row, finished, labels_N, classes),
    }


def _our_figures(
    names: Sequence[str], scores: Sequence[Scores], labels_N: Indices, classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    if not scores:
        return {}

    def figures(chosen_N: Indices) -> Scores:
        every = [classification_figures(labels_N[chosen_N], s[chosen_N], classes) for s in scores]
        return np.array([[seed[name] for name in names] for seed in every])

    measured = figures(np.arange(len(labels_N)))
    resampled = np.array([figures(r).mean(axis=0) for r in stratified_resamples(labels_N, NUM_RESAMPLES, seed=0)])
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    spread = measured.std(axis=0, ddof=1) if len(scores) > 1 else np.full(len(names), np.nan)
    columns = {"mean": measured.mean(axis=0), "std": spread, "low": low, "high": high}
    return {
        name: {column: None if np.isnan(values[i]) else float(values[i]) for column, values in columns.items()}
        for i, name in enumerate(names)
    }


def printed_inconsistencies(table: Table) -> list[str]:
    """Printed figures that contradict others in the same row by more than rounding to three digits."""
    return [found for row in table.rows for found in (*_accuracies(table, row), *_means(table, row))]


def _accuracies(table: Table, row: Row) -> Iterator[str]:
    for task, num_positive in table.num_positive.items():
        printed = [row.paper.get(f"{task}_{name}_argmax") for name in ("accuracy", "sensitivity", "specificity")]
        accuracy, sensitivity, specificity = printed
        if accuracy is None or sensitivity is None or specificity is None:
            continue
        implied = implied_accuracy(sensitivity, specificity, num_positive, table.num_pictures - num_positive)
        if abs(implied - accuracy) > 0.001:
            yield (
                f"{row.name}, {task.replace('_', ' ')}: SE {sensitivity:.3f} and SP {specificity:.3f} on "
                f"{num_positive} of {table.num_pictures} imply ACC {implied:.3f}, printed {accuracy:.3f}"
            )


def _means(table: Table, row: Row) -> Iterator[str]:
    aucs = [row.paper.get(f"{task}_auc") for task in table.num_positive]
    printed = row.paper.get("mean_auc")
    if printed is None or any(auc is None for auc in aucs):
        return
    mean = float(np.mean([auc for auc in aucs if auc is not None]))
    if abs(mean - printed) > 0.00101:
        yield f"{row.name}: the AUCs of the sub-tasks average {mean:.3f}, printed {printed:.3f}"


def write_table_result(result: Mapping[str, Any], results: Path) -> None:
    """Write ``table-N.json`` and ``table-N.md`` below ``results``."""
    results.mkdir(parents=True, exist_ok=True)
    write_json(results / f"table-{result['table']}.json", result)
    write_text(results / f"table-{result['table']}.md", markdown(result))


def markdown(result: Mapping[str, Any]) -> str:
    """``table-N.md``: for each figure the printed value, ours with its interval, and the difference."""
    names = list(result["rows"][0]["metrics"])
    lines = [
        f"# Table {result['table']}: {result['title']}",
        "",
        f"{result['num_pictures']} images of `{result['test_set']}` ({result['missing_pictures']} missing). Each "
        "cell: the paper's figure; ours as mean over the seeds ± standard deviation [95 % bootstrap interval of the "
        f"mean, {NUM_RESAMPLES} stratified resamples]; the difference. Made by `{result['command']}`.",
        "",
    ]
    rows = []
    for row in result["rows"]:
        cells = [_cell(row["metrics"][name]) for name in names]
        seeds = ", ".join(map(str, row["seeds"])) or "-"
        minutes = f"{row['seconds'] / 60:.0f}" if row["seconds"] else "-"
        name = row["name"] + (f" ({row['external_pictures']:,} external)" if row["external_pictures"] else "")
        rows.append([name, row["source"], *cells, seeds, str(row["input_size"] or "-"), minutes])
    lines.append(text.table(["System", "Source", *(head(name) for name in names), "Seeds", "Input", "Minutes"], rows))
    if any(row["external_pictures"] for row in result["rows"]):
        lines += ["", "External: further images behind the printed figures; ours used none."]
    lines += _tests_section(result["rows"])
    if result["printed_inconsistencies"]:
        lines += ["", "Rows of the printed table that contradict themselves:", ""]
        lines += [f"- {contradiction}" for contradiction in result["printed_inconsistencies"]]
    lines += _origin(result["rows"])
    return "\n".join(lines) + "\n"


def _origin(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Pretrained weights, machines, precisions and commits of our rows, with all distinct values."""
    ours = [row for row in rows if row["seeds"]]
    if not ours:
        return []
    said = {key: "; ".join(sorted({row[key] for row in ours})) for key in ("start", "machine", "precision")}
    lines = ["", f"Start: {said['start']}. Machine: {said['machine']}. Precision: {said['precision']}."]
    systems_at: dict[str, list[str]] = {}
    for row in ours:
        systems_at.setdefault(", ".join(commit[:7] + commit[40:] for commit in row["git_commits"]), []).append(
            row["system"]
        )
    code = "; ".join(f"{commits} ({', '.join(systems)})" for commits, systems in systems_at.items())
    return [*lines, f"Code at commit: {code}."]


def head(name: str) -> str:
    """The column head of a figure: ``melanoma AUC``."""
    for suffix, title in HEADS.items():
        if name.endswith(f"_{suffix}"):
            return f"{name.removesuffix(f'_{suffix}').replace('_', ' ')} {title}"
    return name


def _tests_section(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    num_tests = sum(test["p"] is not None for row in rows for key in _COMPARED for test in row[key])
    lines = []
    for key, heading in _COMPARED.items():
        cells = []
        for row in rows:
            for test in row[key]:
                interval = f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]"
                p = "-" if test["p"] is None else f"{test['p']:.3f}"
                seed = "all" if test["seed"] is None else str(test["seed"])
                cells.append([row["name"], seed, test["task"].replace("_", " "), interval, p])
        if cells:
            lines += ["", f"{heading}, on the same images:", ""]
            lines.append(text.table(["System", "Seed", "Task", "AUC difference [95 % interval]", "p"], cells))
    if lines:
        lines += [
            "",
            f"p: paired DeLong test, {num_tests} in all, without correction for their number. The interval of the mean "
            "is a bootstrap over the images. Neither knows what another seed would change; the intervals of all seeds "
            "are over images and seeds, resampled together.",
        ]
    return lines


_COMPARED = {
    "against_baseline": "Against the baseline",
    "against_control": "Against the control of D: the same modules in two branches, without D",
}


def _cell(figures: Mapping[str, float | None]) -> str:
    paper = "-" if figures["paper"] is None else f"{figures['paper']:.3f}"
    if figures["mean"] is None:
        return paper
    spread = "" if figures["std"] is None else f" ± {figures['std']:.3f}"
    ours = f"{figures['mean']:.3f}{spread} [{figures['low']:.3f}, {figures['high']:.3f}]"
    difference = "" if figures["difference"] is None else f"; {figures['difference']:+.3f}"
    return f"{paper}; {ours}{difference}"
