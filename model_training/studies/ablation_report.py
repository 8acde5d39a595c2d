"""The result of the ablations as ``cross-validation.json`` and, for readers, ``cross-validation.md``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_training.files import write_json, write_text
from model_training.reporting.text import table
from model_training.studies.ablations import BASE


def write_ablation_result(result: Mapping[str, Any], results: Path) -> None:
    """Write ``cross-validation.json`` and ``cross-validation.md`` below ``results``."""
    results.mkdir(parents=True, exist_ok=True)
    write_json(results / "cross-validation.json", result)
    write_text(results / "cross-validation.md", ablation_markdown(result))


def ablation_markdown(result: Mapping[str, Any]) -> str:
    """``cross-validation.md``: each ablation's AUCs with their gains, and the gains on every fold."""
    metrics = list(result["choices"][0]["metrics"]) if result["choices"] else []
    lines = [
        f"# Choices, by five-fold cross-validation on `{result['train']}`",
        "",
        f"AUC on the part held out: mean ± standard deviation over the folds; gain over `{BASE}` on the same folds "
        "[95 % bootstrap interval over the images held out, for the networks as they are]. "
        f"Made by `{result['command']}`.",
        "",
    ]
    rows = []
    for ablation in result["choices"]:
        cells = [_cell(ablation["metrics"][metric]) for metric in metrics]
        changes = ", ".join(f"`{change}`" for change in ablation["changes"]) or "-"
        rows.append([ablation["name"], changes, *cells, str(len(ablation["folds"]))])
    heads = [metric.replace("_", " ").replace("auc", "AUC") for metric in metrics]
    lines += [table(["Choice", "Changes", *heads, "Folds"], rows), ""]
    compared = [
        (gained["name"], gained.get("against", BASE), gained)
        for gained in (*result["choices"], *result["controls"])
        if len(gained["shared_folds"]) > 1 or "against" in gained
    ]
    if compared:
        rows = [[name, over, *(_by_fold(c, metric) for metric in metrics)] for name, over, c in compared]
        lines += [
            "Gain on each fold, and [95 % interval over the folds]: by Student's t with the variance corrected for "
            "what the folds share (Nadeau and Bengio, 2003). All have the same seed, whose own share is not in it. **A "
            "choice is better when this interval of the mean AUC is above zero over all five folds**; with many "
            "choices some may pass by chance.",
            "",
            table(["Choice", "Over", *heads], rows),
            "",
        ]
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any]) -> str:
    if figures["mean"] is None:
        return "-"
    spread = "" if figures["std"] is None else f" ± {figures['std']:.3f}"
    gain = ""
    if figures.get("gain") is not None:
        gain = f"; {figures['gain']:+.3f} [{figures['low']:+.3f}, {figures['high']:+.3f}]"
    return f"{figures['mean']:.3f}{spread}{gain}"


def _by_fold(compared: Mapping[str, Any], metric: str) -> str:
    figures = compared["metrics"][metric]
    gains = ", ".join(f"{gain:+.3f}" for gain in figures["gain_by_fold"])
    if "folds_low" not in figures:
        return gains
    return f"{gains} [{figures['folds_low']:+.3f}, {figures['folds_high']:+.3f}]"
