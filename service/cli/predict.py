"""``cin predict``: predictions without a server, by the same transaction as the service's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from service.bundle import Bundle, BundleError, OperatingPoint, load_bundle
from service.cli import ctrl_c, merging
from service.cli.archive import ArchiveError, list_pictures, require_pictures
from service.cli.common import locations, read_settings, refuse
from service.cli.one_process import Backend, in_this_process, never
from service.cli.overlays import OverlayFolder
from service.cli.parquet import WRITES_PARQUET
from service.cli.placement import ClusterError
from service.cli.ray_engine import Cluster, on_ray
from service.cli.reports import Outcome, Report, Summary, into_file, on_terminal, unreadable_folder
from service.cli.results_file import ResultsFile, files_of
from service.cli.s3 import Location
from service.cli.shards import Shard
from service.cli.tables import JudgedBy, Source, prevalence_text
from service.inference.answers import EngineError
from service.prediction.describe import how_it_abstains
from service.prediction.prevalence import LEAST, MOST
from service.prediction.schemas import Abstains
from service.prediction.views import View, ViewError, calibrated_prevalence, show
from service.settings import Settings


def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(
            help="Dermoscopy images, folders of them, s3://bucket/prefix (extra [s3]), and lists of paths (.txt).",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each image, one a line.")] = False,
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
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Predict in this process, or on a Ray cluster (extra [ray]).")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS", help="The Ray cluster that this machine is a node of; default: one for this command."
        ),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Ray actors on CPUs, one CPU each; default: one for every CPU.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Ray actors on GPUs, one GPU each, instead.")] = None,
) -> None:
    """Judge images without a server. Exit code 1 when any could not be read."""
    try:
        with ctrl_c.interruptible(ctrl_c.interrupt):
            settings = read_settings(operating_point=operating_point)
            if as_json and out is not None:
                refuse(
                    "--json is for the terminal; with --out the file's name says how: .jsonl, .csv or .parquet",
                    wrong_usage=True,
                )
            cluster = _cluster(engine, address, actors, gpus, writes_table=out is not None and overlay is None)
            table = _appended(out)
            own = [*([] if out is None else files_of(out)), *([] if table is None else files_of(table))]
            archive = Archive(locations(pictures), [*own, *([] if overlay is None else [overlay])], _shard(shard))
            complete = _predict(
                settings, archive, View(prevalence, raw), as_json=as_json, out=table, overlay=overlay, cluster=cluster
            )
            if out is not None and table not in (None, out):
                merging.merge(merging.survey([table]), out)
    except (ArchiveError, BundleError, ClusterError, EngineError, ViewError) as error:
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

    paths: Sequence[Location]
    own: Sequence[Path]  # files and folders of the command
    shard: Shard | None

    def pictures(
        self, left_out: Counter[str] | None = None, onerror: Callable[[OSError], object] = lambda _: None
    ) -> Iterator[Location]:
        """List the images, as :func:`list_pictures`."""
        left_out = Counter() if left_out is None else left_out
        return list_pictures(self.paths, left_out, own=self.own, shard=self.shard, onerror=onerror)


def _appended(out: Path | None) -> Path | None:
    """The file that answers are appended to, which Parquet does not allow."""
    if out is None or out.suffix.lower() != ".parquet":
        return out
    if not WRITES_PARQUET:
        refuse("install the service with its extra [parquet]")
    return out.with_suffix(".jsonl")


def _cluster(
    engine: str, address: str | None, actors: int | None, gpus: int | None, *, writes_table: bool
) -> Cluster | None:
    """The cluster that is asked for; None: this process."""
    if engine == "local":
        if actors or gpus:
            refuse("--actors and --gpus are of --engine ray", wrong_usage=True)
        return None
    if not writes_table:
        refuse("--engine ray writes its answers into a file: --out; it draws no overlays", wrong_usage=True)
    if actors and gpus:
        refuse("actors are on CPUs (--actors) or on GPUs (--gpus); set only one", wrong_usage=True)
    return Cluster(address, actors, gpus)


def _shard(text: str | None) -> Shard | None:
    try:
        return None if text is None else Shard.parse(text)
    except ValueError as error:
        refuse(f"--shard: {error}", wrong_usage=True)


def _predict(
    settings: Settings,
    archive: Archive,
    view: View,
    *,
    as_json: bool,
    out: Path | None,
    overlay: Path | None,
    cluster: Cluster | None,
) -> bool:
    """Predict all images, on the terminal or into ``out``; whether every one has all that was asked for."""
    require_pictures(archive.paths, archive.own)
    overlays = None if overlay is None else OverlayFolder(overlay)
    bundle = load_bundle(settings.bundle)
    point = bundle.manifest.operating_point(settings.operating_point)
    if view.prevalence is not None:
        calibrated_prevalence(bundle.manifest)  # before anything is written
    backend = in_this_process(settings, bundle) if cluster is None else on_ray(settings, bundle, cluster, archive.paths)
    if out is None:
        work = _predict_on_terminal(backend, bundle, point, archive, overlays, view, as_json=as_json)
    else:
        abstains = how_it_abstains(bundle, settings.abstain)
        work = _predict_into_file(backend, bundle, point, archive, overlays, view, abstains, out)
    return ctrl_c.run(work).complete


async def _predict_on_terminal(
    backend: AbstractAsyncContextManager[Backend],
    bundle: Bundle,
    point: OperatingPoint,
    archive: Archive,
    overlays: OverlayFolder | None,
    view: View,
    *,
    as_json: bool,
) -> Summary:
    left_out: Counter[str] = Counter()
    pictures = list(archive.pictures(left_out, unreadable_folder))
    summary = Summary(len(pictures), left_out)
    async with backend as started:
        reporting = on_terminal(summary, pictures, point, bundle.manifest.classes, as_json=as_json)
        await _report_all(started.outcomes(pictures, overlays, never), bundle, view, reporting)
    return summary


async def _predict_into_file(
    backend: AbstractAsyncContextManager[Backend],
    bundle: Bundle,
    point: OperatingPoint,
    archive: Archive,
    overlays: OverlayFolder | None,
    view: View,
    abstains: Abstains,
    out: Path,
) -> Summary:
    async with backend as started:
        prevalence = bundle.manifest.malignant_prevalence if view.prevalence is None else view.prevalence
        judged_by = JudgedBy(bundle.sha256, started.variant, point.name, abstains, prevalence_text(prevalence))
        with ResultsFile(out, bundle.manifest, judged_by, raw=view.raw) as file:
            summary, num_left = await _count(archive, file, overlays)
            left = (p for p in archive.pictures() if not _is_complete(file.source_of(p), p, overlays))
            reporting = into_file(summary, file, point, num_left=num_left)
            await _report_all(started.outcomes(left, overlays, file.source_of), bundle, view, reporting)
    return summary


async def _count(archive: Archive, file: ResultsFile, overlays: OverlayFolder | None) -> tuple[Summary, int]:
    """The counts before anything is predicted, and how many images have not all that is asked for."""
    summary, num_left = Summary(0, Counter()), 0
    for picture in archive.pictures(summary.left_out, unreadable_folder):
        source = file.source_of(picture)
        summary.pictures += 1
        summary.answered_before += source is not None
        num_left += not _is_complete(source, picture, overlays)
        if summary.pictures % 1000 == 0:
            await asyncio.sleep(0)  # for Ctrl-C
    return summary, num_left


def _is_complete(answered: Source | None, picture: Location, overlays: OverlayFolder | None) -> bool:
    return answered is not None and (overlays is None or overlays.has(picture, answered))


async def _report_all(
    outcomes: AsyncGenerator[Outcome, None], bundle: Bundle, view: View, reporting: AbstractContextManager[Report]
) -> None:
    with reporting as report:
        async with aclosing(outcomes):
            async for outcome in outcomes:
                if (prediction := outcome.prediction) is not None:
                    prediction = show(prediction, bundle.manifest, view)
                report(outcome._replace(prediction=prediction))
