"""What ``cin predict`` reports: every outcome as it comes, and the counts at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.bundle import DiagnosisClass, OperatingPoint
from service.cli.archive import UNREADABLE, list_kinds
from service.cli.names import printable, to_text
from service.cli.results_file import ResultsFile
from service.cli.rows import to_fields
from service.cli.s3 import Location
from service.prediction.decision import REASONS, Reason
from service.prediction.schemas import NOTICE, Prediction
from service.prediction.words import for_what, limits, not_ruled_out


class Outcome(NamedTuple):
    """The outcome for one image: its prediction, or why there is none; and why it has no overlays."""

    path: Location
    prediction: Prediction | None
    error: str | None = None
    overlays_error: str | None = None


# As long as the longest operating point and the longest advice of the shipped model.
_ADVICE_WIDTH = 24

Report = Callable[[Outcome], None]


@dataclass
class Summary:
    """The counts of one command."""

    pictures: int
    left_out: Counter[str]
    answered_before: int = 0
    answered: int = 0
    abstained: int = 0  # of those answered
    failed: int = 0
    without_overlays: int = 0

    @property
    def complete(self) -> bool:
        """Whether every image has all that was asked for."""
        return not (self.failed or self.without_overlays or self.left_out[UNREADABLE])

    def add(self, outcome: Outcome, *, for_overlays: bool = False) -> None:
        """Count an outcome; ``for_overlays`` when an earlier command has counted the answer."""
        _, prediction, error, overlays_error = outcome
        if for_overlays:
            self.without_overlays += bool(error or overlays_error)
            return
        self.answered += prediction is not None
        self.abstained += prediction is not None and prediction.decision.status == "abstained"
        self.failed += prediction is None
        self.without_overlays += overlays_error is not None


@contextmanager
def on_terminal(
    summary: Summary,
    paths: Sequence[Location],
    point: OperatingPoint,
    classes: Sequence[DiagnosisClass],
    *,
    as_json: bool,
) -> Iterator[Report]:
    """Reports one line for each image, judged at ``point`` by a model with these ``classes``."""
    console = _console()
    reasons: set[Reason] = set()
    width = max((len(to_text(path)) for path in paths), default=0)
    if not as_json:
        advice = f"{point.name:<{_ADVICE_WIDTH}}"
        typer.echo(f"{'picture':<{width}}  {advice} {'malignant':>9} {'threshold':>9}  reasons")

    def report(outcome: Outcome) -> None:
        summary.add(outcome)
        name, prediction = to_text(outcome.path), outcome.prediction
        if as_json:
            fields = {"error": outcome.error} if prediction is None else to_fields(prediction)
            typer.echo(json.dumps({"picture": name, **fields}))
        elif prediction is not None:
            reasons.update(prediction.decision.reasons)
            typer.echo(f"{name:<{width}}  {_row(prediction, classes)}")
        _report_errors(console, outcome if not as_json else outcome._replace(error=None))

    yield report
    for reason, meaning in REASONS.items():
        if reason in reasons:
            console.print(f"{reason}: {meaning}")
    if summary.left_out:
        console.print(f"left out: {list_kinds(summary.left_out)}")
    console.print(f"No referral {not_ruled_out(classes)} {limits(classes)}")
    console.print(_performance(point))
    console.print(NOTICE)
    if as_json:
        _report_to_programs(console, summary)


@contextmanager
def into_file(summary: Summary, file: ResultsFile, point: OperatingPoint, *, num_left: int) -> Iterator[Report]:
    """Reports every outcome to the file, the errors to the terminal as well; ``point`` judged the images."""
    console = _console()
    if summary.answered_before:
        console.print(f"{summary.answered_before} of {summary.pictures} images have an answer already")
    if num_overlays := num_left + summary.answered_before - summary.pictures:
        console.print(f"{num_overlays} of these have no overlays yet")
    began = perf_counter()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[failed]} failed"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=num_left, failed=0)

        def report(outcome: Outcome) -> None:
            answered_before = file.has(outcome.path)
            if not answered_before:
                file.add(outcome.path, outcome.prediction, outcome.error)
            summary.add(outcome, for_overlays=answered_before)
            _report_errors(console, outcome)
            bar.update(task, advance=1, failed=summary.failed)

        yield report
    seconds = perf_counter() - began
    counts = {"failed": summary.failed, "abstained": summary.abstained, "without overlays": summary.without_overlays}
    console.print(
        f"{num_left} images in {seconds:.1f} s ({num_left / max(seconds, 1e-9):.1f} a second), "
        + ", ".join(f"{num} {what}" for what, num in counts.items() if num or what == "failed")
    )
    if summary.left_out:
        console.print(f"left out: {list_kinds(summary.left_out)}")
    console.print(_performance(point))
    console.print(NOTICE)
    _report_to_programs(console, summary)


def unreadable_folder(error: OSError) -> None:
    """Report a folder that may not be read."""
    typer.echo(f"{to_text(error.filename)}: cannot read the folder: {error.strerror}", err=True)


def _performance(point: OperatingPoint) -> str:
    rates = ", ".join(
        f"{name} {rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f})"
        for name, rate in (("sensitivity", point.sensitivity), ("specificity", point.specificity))
    )
    return f"{point.name}: {rates} on {point.measured_on}"


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _report_errors(console: Console, outcome: Outcome) -> None:
    if outcome.error is not None:
        console.print(f"{to_text(outcome.path)}: {printable(outcome.error)}")
    if outcome.overlays_error is not None:
        console.print(f"{to_text(outcome.path)}: overlays: {printable(outcome.overlays_error)}")


def _report_to_programs(console: Console, summary: Summary) -> None:
    """A line of JSON, where no person reads."""
    if not console.is_terminal:
        console.print(json.dumps({"summary": vars(summary)}))


def _row(prediction: Prediction, classes: Sequence[DiagnosisClass]) -> str:
    decision = prediction.decision
    remarks = ", ".join((*decision.reasons, *prediction.image.notes)) or "-"
    shown = decision.malignant_probability is not None
    # Of an image without advice there are figures only with --raw.
    nothing = "no assessment (research)" if shown else "no assessment"
    advice = {True: "refer", False: f"no referral{for_what(classes)}", None: nothing}[decision.refer]
    malignant, threshold = (
        f"{number:.4f}" if shown else "-" for number in (decision.malignant_probability, decision.threshold)
    )
    return f"{advice:<{_ADVICE_WIDTH}} {malignant:>9} {threshold:>9}  {remarks}"
