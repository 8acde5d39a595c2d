"""Fill the generated parts of README.md and docs/*.md from ``results/``, the settings and the code.

    python -m docs.generate                # rewrite the pages
    python -m docs.generate --screenshot   # take docs/images/answer.png as well; needs Chromium

A page marks a generated part with ``<!-- generated: NAME -->`` and ``<!-- end -->``; ``BLOCKS`` has its function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from service.settings import SHIPPED_BUNDLE, Settings
from tests.torture.report import tables as torture_tables

REPOSITORY = Path(__file__).parent.parent
RESULTS = REPOSITORY / "results"
RELEASE = "cin-isic2017-1.4.0"
TASKS = ("melanoma_auc", "seborrheic_keratosis_auc", "mean_auc")
_BLOCK = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)

Figures = Mapping[str, Any]


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """The page's text with every generated part made again; ``KeyError`` for a name without a function."""
    return _BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{BLOCKS[found[1]]()}\n\n", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def read(name: str) -> Any:
    """A JSON file below ``results/``."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def trial(challenge: str, system: str, seed: int = 0) -> Figures:
    """The record of one training of ``results/trials``."""
    record: Figures = read(f"trials/{challenge}/{system}/seed-{seed}/trial.json")
    return record


def aucs(figures: Figures) -> list[str]:
    """Melanoma, seborrheic keratosis, mean."""
    return [f"{figures[task]:.3f}" for task in TASKS]


def interval(figure: Figures, form: str = ".3f") -> str:
    """``0.846 (0.770 to 0.900)``."""
    return f"{figure['value']:{form}} ({figure['low']:{form}} to {figure['high']:{form}})"


# --- README and answers.md


def status() -> str:
    test, figures = read(f"{RELEASE}/test.json")["metrics"], read(f"{RELEASE}/figures.json")["sets"]["isic2017-test"]
    point = next(p for p in figures["operating_points"] if p["name"] == "balanced")
    cin, baseline = (trial("isic2017", system)["metrics"]["mean_auc"] for system in ("cin", "baseline"))
    return "\n".join(
        [
            f"- The shipped model: mean AUC {test['mean_auc']:.3f} on the {test['num_pictures']} ISIC 2017 test images "
            f"(melanoma {test['melanoma_auc']:.3f}); the paper reports 0.951. At `balanced`: sensitivity "
            f"{point['sensitivity']['value']:.3f}, specificity {point['specificity']['value']:.3f}.",
            f"- No gain of the paper is reproduced so far: in short CPU runs CIN has {cin:.3f}, a plain ResNet18 "
            f"{baseline:.3f}. The paper's protocol needs a GPU and has not been run.",
            f"- Speed and reliability: {_status_of_service()} Nothing has been measured on a GPU.",
        ]
    )


def _status_of_service() -> str:
    bench, torture = read("bench-cpu.json"), read("torture.json")
    many = bench["systems"]["ours-int8"]["workloads"]["1024x768"]["many"]["per_second"]
    missed = [not check["limit"].startswith("goal") for check in torture["checks"] if not check["ok"]]
    return (
        f"{many:.0f} images a second on two cores with int8; of {len(torture['checks'])} checks under attack, overload "
        f"and faults {missed.count(True)} failed, and {missed.count(False)} missed a goal that depends on the machine."
    )


def operating_points() -> str:
    rows = []
    for set_name in ("isic2017-validation", "isic2017-test"):
        for point in read(f"{RELEASE}/figures.json")["sets"][set_name]["operating_points"]:
            cells = (interval(point[name]) for name in ("sensitivity", "specificity"))
            rows.append([f"`{point['name']}`", f"{point['threshold']:.4f}", set_name, *cells])
    named = read(f"{RELEASE}/test.json")["metrics"]["melanoma_sensitivity_argmax"]
    return (
        table(["Operating point", "Threshold", "Set", "Sensitivity", "Specificity"], rows)
        + f"\n\nFor comparison: `diagnosis` is melanoma for {named:.0%} of the melanomas in the test set."
    )


def predictive_values() -> str:
    points = read(f"{RELEASE}/figures.json")["sets"]["isic2017-test"]["operating_points"]
    rows = []
    for i, first in enumerate(points[0]["predictive_values"]):
        cells = []
        for point in points:
            values = point["predictive_values"][i]
            cells.append(f"{values['positive']['value']:.1%} / {values['negative']['value']:.1%}")
        rows.append([f"{first['prevalence']:.1%}", *cells])
    return table(["Prevalence of melanoma", *(f"`{point['name']}`" for point in points)], rows)


# --- configuration.md


def settings() -> str:
    rows = [
        [f"`CIN_{name.upper()}`", _default(field), _meaning(field)] for name, field in Settings.model_fields.items()
    ]
    return table(["Setting", "Default", "Meaning"], rows)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "usable CPUs"  # the only default that depends on the machine
    if field.default is None:
        return "-"
    if field.default == SHIPPED_BUNDLE:
        return f"`{SHIPPED_BUNDLE.relative_to(REPOSITORY)}`"
    text = str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"
    return f"`{text.removesuffix('.0')}`"


def _meaning(field: FieldInfo) -> str:
    text = field.description or ""
    if get_origin(field.annotation) is Literal:
        return f"{text}. One of {', '.join(f'`{choice}`' for choice in get_args(field.annotation))}"
    return text


# --- reproduction.md


def systems_of_2017(number: int) -> str:
    rows = []
    for row in read(f"table-{number}.json")["rows"]:
        if row["source"] == "ours":
            record, paper = trial("isic2017", row["system"]), row["metrics"]["seborrheic_keratosis_auc"]["paper"]
            ours = [*aucs(record["validation"]), *aucs(record["metrics"])]
            rows.append([f"`{row['system']}`", "-" if paper is None else f"{paper:.3f}", *ours])
    splits = ("validation", "test")
    heads = [f"{task}, {split}" for split in splits for task in ("Melanoma", "SK", "Mean")]
    return table(["System", "Paper, SK, test", *heads], rows)


def table_2() -> str:
    names = ("malignant_ap", "malignant_accuracy_argmax", "malignant_auc")
    rows = []
    for row in read("table-2.json")["rows"]:
        if row["source"] == "ours":
            record, figures = trial("isbi2016", row["system"]), row["metrics"]
            paper = ["-" if figures[n]["paper"] is None else f"{figures[n]['paper']:.3f}" for n in names]
            ours = [f"{record['metrics'][n]:.3f}" for n in names]
            rows.append([f"`{row['system']}`", *paper, f"{record['validation']['malignant_auc']:.3f}", *ours])
    figures_of = [f"{who}, {name}" for who in ("Paper", "Test") for name in ("AP", "ACC", "AUC")]
    return table(["System", *figures_of[:3], "AUC, held out", *figures_of[3:]], rows)


def cross_validation() -> str:
    rows = []
    for choice in read("choices-at-128/cross-validation.json")["choices"]:
        mean = choice["metrics"]["mean_auc"]
        gain = f"{mean['gain']:+.3f} ({mean['low']:+.3f} to {mean['high']:+.3f})" if "gain" in mean else "-"
        over_folds = f"{mean['folds_low']:+.3f} to {mean['folds_high']:+.3f}" if "folds_low" in mean else "-"
        means = [f"{choice['metrics'][task]['mean']:.3f}" for task in TASKS]
        rows.append([f"`{choice['name']}`", *means, gain, over_folds, str(len(choice["folds"]))])
    heads = ["Melanoma", "SK", "Mean", "Gain in the mean, 95 % interval over images", "Over folds", "Folds"]
    return table(["Variant", *heads], rows)


def releases() -> str:
    equal = read("training-mix.json")["mean_auc_with_equal_classes"]
    rows = []
    for version in ("1.1.0", "1.2.0", "1.4.0"):
        name = f"cin-isic2017-{version}"
        both = [read(f"{name}/{split}.json")["metrics"] for split in ("validation", "test")]
        level = [f"{equal[name][split]:.3f}" for split in ("validation", "test")] if name in equal else None
        level = level or [f"{figures['mean_auc']:.3f}" for figures in both]
        rows.append([version, *aucs(both[0]), *aucs(both[1]), " / ".join(level)])
    heads = [f"{task}, {split}" for split in ("validation", "test") for task in ("Melanoma", "SK", "Mean")]
    return table(["Bundle", *heads, "Mean with equal classes, validation / test"], rows)


def training_mix() -> str:
    rows = []
    for row in read("training-mix.json")["rows"]:
        pair, gain = [row[task] for task in TASKS[:2]], row["release_minus_this"]
        cells = [f"{value:.3f}" for value in (*pair, sum(pair) / 2)]
        rows.append([f"`{row['system']}`", *cells, interval(gain, "+.3f")])
    return table(["System", "Melanoma, test", "SK, test", "Mean, test", "1.4.0 minus this, mean"], rows)


def abstention() -> str:
    cells: dict[str, dict[str, str]] = {}
    for row in read(f"{RELEASE}/abstention.json")["measured"]:
        num = round(row["abstained"]["value"] * row["num_pictures"])
        text = f"{num} of {row['num_pictures']}: {interval(row['abstained'], '.1%')}"
        cells.setdefault(row["measured_on"], {})[row["variant"]] = text
    return table(["Set", "fp32", "int8"], ([f"`{name}`", row["fp32"], row["int8"]] for name, row in cells.items()))


def robustness() -> str:
    rows = []
    for row in read(f"{RELEASE}/robustness.json")["changes"]:
        changed = interval(row["changed"], ".1%") if "changed" in row else "-"
        difference = f"{row['mean_difference']:.3f}" if "mean_difference" in row else "-"
        shares = [("sensitivity", ".2f"), ("specificity", ".2f"), ("withheld", ".1%")]
        values = [format(row[name]["value"], form) if name in row else "-" for name, form in shares]
        rows.append([row["change"], changed, difference, *values])
    header = ["Change", "Advice changes", "Mean change of p", "Sensitivity", "Specificity", "Without advice"]
    return table(header, rows)


def outside() -> str:
    found = read(f"{RELEASE}/outside.json")
    sets = {name: found[name] for name in ("clinical_photographs", "not_dermoscopy")}
    for half, diagnoses in found["unknown_diagnoses"].items():
        sets |= {f"{diagnosis}, {half} half": shares for diagnosis, shares in diagnoses.items()}
    rows = [
        [name, str(row["num_images"]), *(interval(row[key], ".0%") for key in ("referred", "not_referred", "withheld"))]
        for name, row in sets.items()
    ]
    return table(["Images", "Number", "Referral", "No referral", "Without advice"], rows)


def repeats() -> str:
    row = read(f"{RELEASE}/outside.json")["repeat_pairs"]
    figures = [f"{row[key]:.3f}" for key in ("median_change", "percentile_95_change")]
    cells = [str(row["num_pairs"]), *figures, interval(row["other_advice"], ".1%"), f"{row['near_threshold']:.2f}"]
    header = ["Lesions", "Median change of p", "95th percentile", "Other advice", "Near the threshold, log-odds"]
    return table(header, [cells])


# --- performance.md and reliability.md


def benchmark() -> str:
    rows = [
        [name, f"{ratio['value']:g}", ratio["target"], "met" if ratio["met"] else "**missed**"]
        for name, ratio in read("bench-cpu.json")["ratios"].items()
    ]
    return table(["", "Measured", "Target", ""], rows)


def page_times() -> str:
    rows = [
        [name, *(f"{figures[key]:g}" for key in ("median", "p95", "highest"))]
        for name, figures in read("page.json")["milliseconds"].items()
    ]
    return table(["Milliseconds on loopback", "Median", "95th percentile", "Highest"], rows)


def torture(name: str) -> str:
    return torture_tables(read("torture.json"))[name]


BLOCKS: dict[str, Callable[[], str]] = {
    "status": status,
    "operating-points": operating_points,
    "predictive-values": predictive_values,
    "settings": settings,
    "table-1": lambda: systems_of_2017(1),
    "table-2": table_2,
    "table-3": lambda: systems_of_2017(3),
    "cross-validation": cross_validation,
    "releases": releases,
    "training-mix": training_mix,
    "abstention": abstention,
    "robustness": robustness,
    "outside": outside,
    "repeats": repeats,
    "benchmark": benchmark,
    "page-times": page_times,
    "torture-summary": lambda: torture("measured"),
    "torture-figures": lambda: torture("figures"),
    "torture-failures": lambda: torture("failures"),
}


def write() -> None:
    """Rewrite the generated parts of every page."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            page.write_text(new, encoding="utf-8")


def main(
    screenshot: Annotated[bool, typer.Option("--screenshot", help="Take the README's screenshot as well.")] = False,
) -> None:
    """Rewrite the generated parts of README.md and docs/*.md."""
    write()
    if screenshot:
        from docs.screenshot import take  # needs a browser and the packages that drive it

        take(REPOSITORY / "docs" / "images" / "answer.png")


if __name__ == "__main__":
    typer.run(main)
