"""``cin predict``: predictions without a server, by the same transaction as the service's."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import typer

from service.access.keys import ANYONE, Caller
from service.bundle import Bundle, BundleError, load_bundle
from service.cli import ctrl_c, merging
from service.cli.archive import ArchiveError, list_pictures, require_pictures
from service.cli.common import read_settings, refuse
from service.cli.files import read_file
from service.cli.overlays import OverlayFolder
from service.cli.parquet import WRITES_PARQUET
from service.cli.reports import Outcome, Report, Summary, into_file, on_terminal, unreadable_folder
from service.cli.results_file import ResultsFile, files_of
from service.cli.shards import Shard
from service.cli.tables import JudgedBy, Source, prevalence_text
from service.imaging import PictureError
from service.imaging.fork_server import DecoderError
from service.inference.answers import DeviceError, EngineError
from service.prediction.describe import how_it_abstains
from service.prediction.predictor import Predictor
from service.prediction.prevalence import LEAST, MOST
from service.prediction.views import View, ViewError, calibrated_prevalence, show
from service.problems import ServiceError
from service.runtime import predicting
from service.settings import Settings

_CALLER = Caller(ANYONE, counted_as=ANYONE)

# What the answer that a picture has already was made from.
Answered = Callable[[Path], Source | None]


def _never(_: Path) -> None:
    """No picture has an answer."""


def predict(
    pictures: Annotated[
        list[Path], typer.Argument(help="Dermoscopy pictures, folders of them, and lists of paths (.txt).")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each picture, one a line.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for the answers, .jsonl, .csv or .parquet; repeat the command to resume.")
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder to write the attention overlays into.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only the I-th of N parts, each for another machine.")
    ] = None,
    operating_point: Annotated[
        str | None, typer.Option(help="The model's; default: CIN_OPERATING_POINT, or the model's default.")
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            min=LEAST,
            max=MOST,
            help="Share of malignant lesions among your patients: probabilities and threshold for it.",
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Also diagnosis and probabilities where nothing is advised, for research.")
    ] = False,
) -> None:
    """Judge pictures without a server. Exit code 1 when any could not be read."""
    try:
        with ctrl_c.interruptible(ctrl_c.interrupt):
            settings = read_settings(operating_point=operating_point)
            if as_json and out is not None:
                refuse(
                    "--json is for the terminal; with --out the file's name says how: .jsonl, .csv or .parquet",
                    wrong_usage=True,
                )
            table = _appended(out)
            own = [*([] if out is None else files_of(out)), *([] if table is None else files_of(table))]
            archive = Archive(pictures, [*own, *([] if overlay is None else [overlay])], _shard(shard))
            complete = _predict(settings, archive, View(prevalence, raw), as_json=as_json, out=table, overlay=overlay)
            if out is not None and table not in (None, out):
                merging.merge(merging.survey([table]), out)
    except (ArchiveError, BundleError, EngineError, ViewError) as error:
        refuse(str(error))
    except BrokenPipeError:
        raise  # the reader of the answers has left; Typer ends quietly
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except KeyboardInterrupt:
        typer.echo("cin: stopped" + ("" if out is None else "; repeat the command to resume"), err=True)
        raise typer.Exit(130) from None
    if not complete:
        raise typer.Exit(1)


class Archive(NamedTuple):
    """What to predict; it may be too much for a list."""

    paths: Sequence[Path]
    own: Sequence[Path]  # files and folders of the command
    shard: Shard | None

    def pictures(
        self, left_out: Counter[str] | None = None, onerror: Callable[[OSError], object] = lambda _: None
    ) -> Iterator[Path]:
        """List the pictures, as :func:`list_pictures`."""
        left_out = Counter() if left_out is None else left_out
        return list_pictures(self.paths, left_out, own=self.own, shard=self.shard, onerror=onerror)


def _appended(out: Path | None) -> Path | None:
    """The file that answers are appended to, which Parquet does not allow."""
    if out is None or out.suffix.lower() != ".parquet":
        return out
    if not WRITES_PARQUET:
        refuse("install the service with its extra [parquet]")
    return out.with_suffix(".jsonl")


def _shard(text: str | None) -> Shard | None:
    try:
        return None if text is None else Shard.parse(text)
    except ValueError as error:
        refuse(f"--shard: {error}", wrong_usage=True)


def _predict(
    settings: Settings, archive: Archive, view: View, *, as_json: bool, out: Path | None, overlay: Path | None
) -> bool:
    """Predict all pictures, on the terminal or into ``out``; whether every one has all that was asked for."""
    require_pictures(archive.paths, archive.own)
    overlays = None if overlay is None else OverlayFolder(overlay)
    bundle = load_bundle(settings.bundle)
    if view.prevalence is not None:
        calibrated_prevalence(bundle.manifest)  # before anything is written
    if out is None:
        left_out: Counter[str] = Counter()
        pictures = list(archive.pictures(left_out, unreadable_folder))
        work = _predict_on_terminal(settings, bundle, pictures, left_out, overlays, view, as_json=as_json)
    else:
        work = _predict_into_file(settings, bundle, archive, overlays, view, out)
    return ctrl_c.run(work).complete


async def _predict_on_terminal(
    settings: Settings,
    bundle: Bundle,
    pictures: Sequence[Path],
    left_out: Counter[str],
    overlays: OverlayFolder | None,
    view: View,
    *,
    as_json: bool,
) -> Summary:
    summary = Summary(len(pictures), left_out)
    async with predicting(settings, bundle) as predictor:
        reporting = on_terminal(summary, pictures, predictor.point, bundle.manifest.classes, as_json=as_json)
        await _report_all(settings, predictor, pictures, overlays, view, reporting)
    return summary


async def _predict_into_file(
    settings: Settings, bundle: Bundle, archive: Archive, overlays: OverlayFolder | None, view: View, out: Path
) -> Summary:
    async with predicting(settings, bundle) as predictor:
        judged_by = JudgedBy(
            bundle.sha256,
            predictor.scheduler.engine.variant.name,
            predictor.point.name,
            how_it_abstains(bundle, settings.abstain),
            prevalence_text(bundle.manifest.malignant_prevalence if view.prevalence is None else view.prevalence),
        )
        with ResultsFile(out, bundle.manifest, judged_by, raw=view.raw) as file:
            summary, num_left = await _count(archive, file, overlays)
            left = (p for p in archive.pictures() if not _is_complete(file.source_of(p), p, overlays))
            reporting = into_file(summary, file, predictor.point, num_left=num_left)
            await _report_all(settings, predictor, left, overlays, view, reporting, file.source_of)
    return summary


async def _count(archive: Archive, file: ResultsFile, overlays: OverlayFolder | None) -> tuple[Summary, int]:
    """The counts before anything is predicted, and how many pictures have not all that is asked for."""
    summary, num_left = Summary(0, Counter()), 0
    for picture in archive.pictures(summary.left_out, unreadable_folder):
        source = file.source_of(picture)
        summary.pictures += 1
        summary.answered_before += source is not None
        num_left += not _is_complete(source, picture, overlays)
        if summary.pictures % 1000 == 0:
            await asyncio.sleep(0)  # for Ctrl-C
    return summary, num_left


def _is_complete(answered: Source | None, picture: Path, overlays: OverlayFolder | None) -> bool:
    return answered is not None and (overlays is None or overlays.has(picture, answered))


async def _report_all(
    settings: Settings,
    predictor: Predictor,
    paths: Iterable[Path],
    overlays: OverlayFolder | None,
    view: View,
    reporting: AbstractContextManager[Report],
    answered: Answered = _never,
) -> None:
    """Predict all pictures and report every outcome, in order."""
    scheduler, max_bytes = predictor.scheduler, settings.max_upload_bytes
    in_flight = 2 * scheduler.threads + 3 * scheduler.max_batch  # enough for full batches and busy threads
    with reporting as report:
        outcomes = predict_files(
            predictor, paths, in_flight=in_flight, max_bytes=max_bytes, overlays=overlays, answered=answered
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                if (prediction := outcome.prediction) is not None:
                    prediction = show(prediction, scheduler.bundle.manifest, view)
                report(outcome._replace(prediction=prediction))


async def predict_files(
    predictor: Predictor,
    paths: Iterable[Path],
    *,
    in_flight: int,
    max_bytes: int,
    overlays: OverlayFolder | None = None,
    answered: Answered = _never,
) -> AsyncGenerator[Outcome, None]:
    """The outcome of every picture, in order; at most ``in_flight`` pictures of ``max_bytes`` are in memory.

    Overlays are written into ``overlays``, unless the answer that a picture had before was made from something else.
    Raises :class:`EngineError` when the device fails: every other picture would
    fail as well.
    """
    upcoming, tasks = iter(paths), deque[asyncio.Task[Outcome]]()
    try:
        while True:
            while len(tasks) < in_flight and (path := next(upcoming, None)) is not None:
                tasks.append(asyncio.create_task(_predict_file(predictor, path, max_bytes, overlays, answered)))
            if not tasks:
                return
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _predict_file(
    predictor: Predictor, path: Path, max_bytes: int, overlays: OverlayFolder | None, answered: Answered
) -> Outcome:
    try:
        data = await asyncio.to_thread(read_file, path, max_bytes)
        result = await predictor.predict(data, _CALLER, predictor.point, began=perf_counter())
    except DeviceError:
        raise
    except ServiceError as error:  # the device failed on another picture
        raise EngineError(predictor.health.failure) from error
    except (PictureError, DecoderError, EngineError, OSError) as error:
        return Outcome(path, None, _reason(error))
    if overlays is not None:
        source = Source.of(result.prediction)
        if answered(path) not in (None, source):
            return Outcome(path, result.prediction, overlays_error="replaced after its answer; choose another --out")
        try:
            await predictor.scheduler.compute(lambda: overlays.write(path, result.maps, source), _CALLER.counted_as)
        except OSError as error:
            return Outcome(path, result.prediction, overlays_error=_reason(error))
    return Outcome(path, result.prediction)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
