"""What int8 could gain on this machine, by the parts that it covers: ``python -m tests.benchmarks.int8``.

The shipped graph with ever more of its convolutions in int8, whatever that does to the answers: single images, all
variants in turn, so that all meet the same machine. Then the time of float32 and of the last variant by kinds of
operators, from ONNX Runtime's profile.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import numpy as np
import onnxruntime as ort
import typer
from numpy.typing import NDArray
from rich.console import Console

from model_training.files import write_json
from model_training.release.int8 import quantise
from model_training.reporting.text import table
from model_training.training.command_line import command_line
from service.imaging import read_picture
from service.settings import SHIPPED_BUNDLE
from tests.paths import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "service" / "web" / "examples").glob("*.jpg"))
ROUNDS, RUNS = 7, 15

# Whose weights are int8.
FLOAT32, ALL = "float32", "all convolutions"
COVERED = {
    FLOAT32: None,
    "branches, layer3 and layer4": r"branches\.\d\.features\.stages\.layer[34]\.",
    "branches, layer2 to layer4": r"branches\.\d\.features\.stages\.layer[234]\.",
    "branches, all layers": r"branches\.\d\.features\.",
    "branches and their attention": r"branches\.",
    ALL: r".",
}


def session(graph: Path, *, profile: Path | None = None) -> ort.InferenceSession:
    """As the service opens a graph on this machine's cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def seconds_by_operator(graph: Path, frames: NDArray[np.uint8], folder: Path) -> Mapping[str, float]:
    """Seconds of one image by kind of operator, the longest first."""
    opened = session(graph, profile=folder / graph.stem)
    for _ in range(RUNS):
        opened.run(None, {"image": frames[:1]})
    events = json.loads(Path(opened.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1e6 / RUNS
    return dict(spent.most_common())


def main(
    out: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")] = Path("results/int8-parts.json"),
) -> None:
    """Measure, print, and write the figures."""
    frames = np.stack([read_picture(path.read_bytes(), 256, jpeg_quality=75).frame for path in EXAMPLES])
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graphs = {}
        for covered, weights in COVERED.items():
            graphs[covered] = SHIPPED_BUNDLE / "cin-fp32.onnx"
            if weights is not None:
                graphs[covered] = folder / f"{len(graphs)}.onnx"
                quantise(SHIPPED_BUNDLE / "cin-fp32.onnx", graphs[covered], frames, weights=re.compile(weights))
        opened = {covered: session(graph) for covered, graph in graphs.items()}
        taken: dict[str, list[float]] = {covered: [] for covered in COVERED}
        for _ in range(ROUNDS):
            for covered, each in opened.items():
                for run in range(RUNS):
                    began = perf_counter()
                    each.run(None, {"image": frames[run % len(frames)][None]})
                    taken[covered].append(perf_counter() - began)
        medians = {covered: median(seconds) for covered, seconds in taken.items()}
        spent = {covered: seconds_by_operator(graphs[covered], frames, folder) for covered in (FLOAT32, ALL)}
    speeds = {covered: medians[FLOAT32] / seconds for covered, seconds in medians.items()}
    rows = [[covered, f"{1000 * medians[covered]:.1f}", f"{speeds[covered]:.2f}"] for covered in COVERED]
    console.print(table(["In int8", "ms", "Speed"], rows))
    for covered, seconds in spent.items():
        console.print(covered, {kind: f"{1000 * value:.1f} ms" for kind, value in list(seconds.items())[:8]})
    write_json(
        out,
        {
            "command": command_line(),
            "cores": os.cpu_count(),
            "load average": os.getloadavg()[0],
            "milliseconds": {covered: 1000 * seconds for covered, seconds in medians.items()},
            "speed": speeds,
            "milliseconds by operator": {
                covered: {kind: 1000 * value for kind, value in seconds.items()} for covered, seconds in spent.items()
            },
        },
    )


if __name__ == "__main__":
    typer.run(main)
