"""``cin predict``: predictions without a server, by the same transaction as the service's."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.access.keys import ANYONE, Caller
from service.attention.overlay import AttentionMaps, MapKind, OverlayOptions, encode, render
from service.bundle import Bundle, BundleError, load_bundle
from service.cli.archive import ArchiveError, find_pictures
from service.cli.common import read_settings, refuse
from service.cli.results_file import ResultsFile, to_fields
from service.imaging import PictureError
from service.imaging.fork_server import DecoderError
from service.inference.answers import DeviceError, EngineError
from service.prediction.describe import how_it_abstains
from service.prediction.predictor import Predictor
from service.prediction.schemas import Prediction
from service.problems import ServiceError
from service.runtime import predicting
from service.settings import Settings

_CALLER = Caller(ANYONE, counted_as=ANYONE)


class Outcome(NamedTuple):
    """The outcome for one picture: its prediction, or why there is none."""

    path: Path
    prediction: Prediction | None
    error: str | None = None


Report = Callable[[Outcome], None]


def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Dermoscopy pictures, and folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each picture, one a line.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for the answers, .jsonl or .csv; repeat the command to resume.")
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder to write the attention overlays into.")] = None,
) -> None:
    """Diagnose pictures without a server. Exit code 1 when any could not be read."""
    settings = read_settings()
    if as_json and out is not None:
        refuse("--json is for the terminal; with --out the file's name says how: .jsonl or .csv")
    try:
        failed = _predict(settings, pictures, as_json=as_json, out=out, overlay=overlay)
    except (ArchiveError, BundleError, EngineError) as error:
        refuse(str(error))
    except BrokenPipeError:
        raise  # the reader of the answers has left; Typer ends quietly
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except KeyboardInterrupt:
        typer.echo("cin: stopped" + ("" if out is None else "; repeat the command to resume"), err=True)
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


def _predict(
    settings: Settings, pictures: Sequence[Path], *, as_json: bool, out: Path | None, overlay: Path | None
) -> int:
    """Predict all pictures, on the terminal or into ``out``; how many failed."""
    paths = find_pictures(pictures)
    if overlay is not None and len({path.stem for path in paths}) < len(paths):
        refuse("two pictures have the same name, so their overlays would too; give them one at a time")
    bundle = load_bundle(settings.bundle)
    point = bundle.manifest.operating_point(settings.operating_point).name
    if out is None:
        report = _on_terminal(paths, point, as_json=as_json)
        return asyncio.run(_report_all(settings, bundle, paths, overlay, report))
    abstains = how_it_abstains(bundle, settings.abstain)
    with ResultsFile(out, bundle.manifest, model_sha256=bundle.sha256, point=point, abstains=abstains) as file:
        left = [path for path in paths if str(path) not in file.done]
        report = _into_file(file, num_left=len(left), num_all=len(paths))
        return asyncio.run(_report_all(settings, bundle, left, overlay, report))


async def _report_all(
    settings: Settings,
    bundle: Bundle,
    paths: Sequence[Path],
    overlay: Path | None,
    reporting: AbstractContextManager[Report],
) -> int:
    """Predict all pictures and report every outcome, in order; how many failed."""
    failed = 0
    async with predicting(settings, bundle) as predictor:
        network = predictor.network
        in_flight = 2 * network.threads + 3 * network.max_batch  # enough for full batches and busy threads
        with reporting as report:
            async with aclosing(predict_files(predictor, paths, in_flight=in_flight, overlay=overlay)) as outcomes:
                async for outcome in outcomes:
                    failed += outcome.prediction is None
                    report(outcome)
    return failed


async def predict_files(
    predictor: Predictor, paths: Iterable[Path], *, in_flight: int, overlay: Path | None = None
) -> AsyncGenerator[Outcome, None]:
    """The outcome of every picture, in order; at most ``in_flight`` pictures are in memory.

    Overlays are written into the folder ``overlay``. Raises :class:`EngineError` when the device fails: every other
    picture would fail as well.
    """
    upcoming, tasks = iter(paths), deque[asyncio.Task[Outcome]]()
    try:
        while True:
            while len(tasks) < in_flight and (path := next(upcoming, None)) is not None:
                tasks.append(asyncio.create_task(_predict_file(predictor, path, overlay)))
            if not tasks:
                return
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _predict_file(predictor: Predictor, path: Path, overlay: Path | None) -> Outcome:
    try:
        data = await asyncio.to_thread(path.read_bytes)
        result = await predictor.predict(data, _CALLER, predictor.point, began=perf_counter())
    except DeviceError:
        raise
    except ServiceError as error:  # the device failed on another picture
        raise EngineError(predictor.health.failure) from error
    except (PictureError, DecoderError, EngineError, OSError) as error:
        return Outcome(path, None, (error.strerror if isinstance(error, OSError) else None) or str(error))
    if overlay is not None:
        try:
            await predictor.network.compute(
                lambda: _write_overlays(overlay, path.stem, result.maps), _CALLER.counted_as
            )
        except OSError as error:
            return Outcome(path, None, f"{error.filename}: {error.strerror}")
    return Outcome(path, result.prediction)


@contextmanager
def _on_terminal(paths: Sequence[Path], point: str, *, as_json: bool) -> Iterator[Report]:
    """Reports one line for each picture."""
    width = max(len(str(path)) for path in paths)
    if not as_json:
        typer.echo(f"{'picture':<{width}}  {'diagnosis':<26} {'malignant':>9}  {point:<14} reasons")

    def report(outcome: Outcome) -> None:
        path, prediction, error = outcome
        if prediction is None:
            typer.echo(
                json.dumps({"picture": str(path), "error": error}) if as_json else f"{path}: {error}", err=not as_json
            )
        elif as_json:
            typer.echo(json.dumps({"picture": str(path), **to_fields(prediction)}))
        else:
            typer.echo(f"{path!s:<{width}}  {_row(prediction)}")

    yield report


@contextmanager
def _into_file(file: ResultsFile, *, num_left: int, num_all: int) -> Iterator[Report]:
    """Reports every outcome to the file, the errors to the terminal as well."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if num_left < num_all:
        console.print(f"{num_all - num_left} of {num_all} pictures have an answer already")
    failed, began = 0, perf_counter()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[failed]} failed"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=num_left, failed=0)

        def report(outcome: Outcome) -> None:
            nonlocal failed
            path, prediction, error = outcome
            file.add(str(path), prediction, error)
            if prediction is None:
                failed += 1
                console.print(f"{path}: {error}")
            bar.update(task, advance=1, failed=failed)

        yield report
    seconds = perf_counter() - began
    console.print(
        f"{num_left} pictures in {seconds:.1f} s ({num_left / max(seconds, 1e-9):.1f} a second), {failed} failed"
    )


def _row(prediction: Prediction) -> str:
    decision = prediction.decision
    remarks = ", ".join((*decision.reasons, *prediction.image.notes)) or "-"
    if decision.refer is None:
        return f"{'-':<26} {'-':>9}  {'abstained':<14} {remarks}"
    diagnosis = f"{prediction.diagnosis} {prediction.probabilities[prediction.diagnosis]:.2f}"
    advice = "refer" if decision.refer else "no referral"
    return f"{diagnosis:<26} {decision.malignant_probability:>9.2f}  {advice:<14} {remarks}"


def _write_overlays(folder: Path, name: str, maps: AttentionMaps) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kinds: list[MapKind] = ["lesion"] if maps.spatial is None else ["lesion", "spatial", "correlation"]
    for kind in kinds:
        (folder / f"{name}-{kind}.png").write_bytes(encode(render(maps, OverlayOptions(kind=kind))))
