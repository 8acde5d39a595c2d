"""Fill the generated parts of README.md and docs/*.md from ``results/``, the settings and the code.

    python -m docs.generate                # rewrite the pages
    python -m docs.generate --screenshot   # take docs/images/answer.png as well; needs Chromium

A page marks a generated part with ``<!-- generated: NAME -->`` and ``<!-- end -->``; ``BLOCKS`` has its function.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from docs import reproduction_tables
from docs.tables import RELEASE, REPOSITORY, Figures, interval, read, table, trial
from service.settings import SHIPPED_BUNDLE, Settings
from tests.torture.report import tables as torture_tables

_BLOCK = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """The page's text with every generated part made again; ``KeyError`` for a name without a function."""
    return _BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{BLOCKS[found[1]]()}\n\n", text)


# --- README and answers.md


def status() -> str:
    test, figures = read(f"{RELEASE}/test.json")["metrics"], read(f"{RELEASE}/figures.json")["sets"]["isic2017-test"]
    point = next(p for p in figures["operating_points"] if p["name"] == "balanced")
    a, cin, baseline = (trial("isic2017", name)["metrics"]["mean_auc"] for name in ("a", "cin", "baseline"))
    return "\n".join(
        [
            f"- The shipped model: mean AUC {test['mean_auc']:.3f} on the {test['num_pictures']} ISIC 2017 test images "
            f"(melanoma {test['melanoma_auc']:.3f}); the paper reports 0.951. At `balanced`: sensitivity "
            f"{point['sensitivity']['value']:.3f}, specificity {point['specificity']['value']:.3f}.",
            f"- Of the paper's modules only the crop is shown to help: in short CPU runs a plain ResNet18 has "
            f"{baseline:.3f}, with the crop {a:.3f}, as full CIN {cin:.3f}. "
            "The paper's protocol needs a GPU and has not been run.",
            f"- Speed and reliability: {_status_of_service()} Nothing has been measured on a GPU.",
        ]
    )


def _status_of_service() -> str:
    bench, torture = read("bench-shipped.json"), read("torture.json")
    many = bench["systems"]["ours"]["workloads"]["1024x768"]["many"]["per_second"]
    missed = [not check["limit"].startswith("goal") for check in torture["checks"] if not check["ok"]]
    return (
        f"{many:.0f} images a second on two cores; of {len(torture['checks'])} checks under attack, overload "
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


def archives() -> str:
    result = read("archives.json")
    rows = [
        [step, _at_most(figures["cpu_seconds"], "s", ".1f"), _at_most(figures["peak_mb"], "MB", ".0f")]
        for step, figures in result["steps"].items()
    ]
    return table([f"{result['rows']:,} rows; {result['machine']}", "CPU", "Peak"], rows)


def _at_most(figure: Figures, unit: str, form: str) -> str:
    """``8.0 s``, with the limit that it has."""
    value, most = figure["value"], figure["most"]
    limit = "" if most is None else f" (at most {most:g}{'' if value <= most else ', **missed**'})"
    return f"{value:{form}} {unit}{limit}"


def torture(name: str) -> str:
    return torture_tables(read("torture.json"))[name]


BLOCKS: dict[str, Callable[[], str]] = {
    "status": status,
    "operating-points": operating_points,
    "predictive-values": predictive_values,
    "settings": settings,
    "table-1": lambda: reproduction_tables.systems_of_2017(1),
    "table-2": reproduction_tables.table_2,
    "table-3": lambda: reproduction_tables.systems_of_2017(3),
    "cross-validation": reproduction_tables.cross_validation,
    "recipes": reproduction_tables.recipes,
    "releases": reproduction_tables.releases,
    "training-mix": reproduction_tables.training_mix,
    "abstention": reproduction_tables.abstention,
    "robustness": reproduction_tables.robustness,
    "outside": reproduction_tables.outside,
    "repeats": reproduction_tables.repeats,
    "diagnoses": reproduction_tables.diagnoses,
    "pairs": reproduction_tables.pairs,
    "groups": reproduction_tables.groups,
    "views": reproduction_tables.views,
    "benchmark": benchmark,
    "page-times": page_times,
    "archives": archives,
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
