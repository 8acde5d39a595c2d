"""``cin``: serve, predict without a server, verify a bundle; keys and the audit log are in :mod:`service.commands`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, cast

import typer
import uvicorn
from fastapi import FastAPI
from prometheus_client import start_http_server
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.access.keys import AccessError, is_loopback, published_host, require_keys_beyond_loopback
from service.app import create_app
from service.attention.overlay import MapKind, OverlayOptions, encode, render
from service.audit.file import AuditError
from service.bundle import BundleError, OperatingPoint, load_bundle, measure_reference, write_bundle
from service.cli import audit, keys
from service.cli.archive import ArchiveError, Outcome, ResultsFile, answer_all, find_pictures
from service.cli.common import read_settings, refuse
from service.imaging import Picture, PictureError, PictureLimits
from service.inference.answers import Answer, EngineError
from service.inference.engine import Engine
from service.metrics import Metrics
from service.prediction.describe import Examiner, attention_maps, describe, how_it_abstains, make_examiner
from service.prediction.schemas import Findings
from service.server.connections import Guard
from service.settings import Settings, usable_cpus
from service.storage.store import RecordsError

log = logging.getLogger(__name__)

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The Clinical-Inspired Network on dermoscopy pictures. Research software, not a medical device.",
)
bundle_app = typer.Typer(no_args_is_help=True, help="Model bundles.")
app.add_typer(bundle_app, name="bundle")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")


@app.command()
def serve() -> None:
    """Serve over HTTP. CIN_HOST, CIN_PORT, CIN_BUNDLE and the other CIN_ settings say how."""
    settings = read_settings()
    _log_to_stderr(settings.log_level.upper())
    listening = _listen(settings.host, settings.port)
    address = listening.getsockname()[0] if settings.published is None else published_host(settings.published)
    try:
        require_keys_beyond_loopback(address, keys=settings.keys, allow_anyone=settings.allow_anyone)
    except AccessError as error:
        refuse(str(error))
    if settings.keys is None and not is_loopback(address):
        log.warning("other machines can reach this service, and nobody is asked who they are")
    failures: list[str] = []

    def end(reason: str) -> None:
        failures.append(reason)
        asyncio.get_running_loop().call_later(settings.farewell_seconds, leave)

    def leave() -> None:
        server.should_exit = True

    metrics = Metrics()
    application = create_app(settings, end, metrics)
    config = server_config(application, settings)
    server = uvicorn.Server(config)
    # Uvicorn raises the signal that ended it once more; this lets the service be taken down properly even so.
    signal.signal(signal.SIGTERM, _leave)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(application, server, listening, settings, metrics))
    except (AccessError, AuditError, BundleError, EngineError, RecordsError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if failures:
        typer.echo(f"cin: {failures[0]}", err=True)
        logging.shutdown()
        # A device that hangs would keep the interpreter waiting for its thread.
        os._exit(1)


async def _serve(
    application: FastAPI, server: uvicorn.Server, listening: socket.socket, settings: Settings, metrics: Metrics
) -> None:
    # The lifespan is run here, not by Uvicorn, which would turn what is wrong with a bundle into a traceback.
    async with application.router.lifespan_context(application):
        # Not before: a canary that was not asked yet would look like one that failed.
        if settings.metrics_port is not None:
            _serve_metrics(metrics, settings.host, settings.metrics_port)
        _say_where(listening)
        await server.serve([listening])


def server_config(application: FastAPI, settings: Settings) -> uvicorn.Config:
    """How Uvicorn serves it; whoever runs that runs the lifespan."""
    metrics: Metrics = application.state.metrics
    guard = Guard(settings.connection_limits(), on_close=lambda reason: metrics.closed.labels(reason).inc())
    return uvicorn.Config(
        application,
        http=cast(Any, guard.protocol),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,  # paths hold the ids of predictions
        server_header=False,
        # Whoever may say who asked, may pass for anybody.
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def _log_to_stderr(level: str) -> None:
    """Our own log at the chosen level, and nothing of other packages that is for debugging: what Pillow tells of a
    picture's tags then may name a patient."""
    logging.basicConfig(level=max(logging.INFO, logging.getLevelNamesMapping()[level]), format=_LOG_FORMAT)
    logging.getLogger("service").setLevel(level)


def _serve_metrics(metrics: Metrics, host: str, port: int) -> None:
    try:
        start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        refuse(f"cannot listen on {host}:{port} ({error.strerror}); set CIN_METRICS_PORT to a free one")


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; connections are refused until the service is ready."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        refuse(f"cannot listen on {host}:{port} ({error.strerror}); set CIN_HOST or CIN_PORT to a free one")
    return listening


def _say_where(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(
        f"\nServing at {url}\n"
        f"  page     {url}/\n"
        f"  try      curl -F image=@lesion.jpg {url}/predict\n"
        f"  API      {url}/docs\n"
        f"  model    {url}/model\n"
        f"  metrics  {url}/metrics\n"
        "Research software, not a medical device. Ctrl-C ends it.\n"
    )


@app.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Dermoscopy pictures, and folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each picture, one a line.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for the answers, .jsonl or .csv; the same command goes on with it.")
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder to write the attention overlays into.")] = None,
) -> None:
    """Diagnose pictures without a server. Exit code 1 when any could not be read."""
    settings = read_settings()
    if as_json and out is not None:
        refuse("--json is for the terminal; with --out the file's name says how: .jsonl or .csv")
    try:
        failed = _answer_pictures(settings, pictures, as_json=as_json, out=out, overlay=overlay)
    except (ArchiveError, BundleError, EngineError) as error:
        refuse(str(error))
    except BrokenPipeError:
        raise  # whoever read the answers has left; Typer ends quietly
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except KeyboardInterrupt:
        typer.echo("cin: stopped" + ("" if out is None else "; the same command goes on from there"), err=True)
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


def _answer_pictures(
    settings: Settings, pictures: Sequence[Path], *, as_json: bool, out: Path | None, overlay: Path | None
) -> int:
    """Answer all pictures on the terminal or into ``out``; how many failed."""
    paths = find_pictures(pictures)
    if overlay is not None and len({path.stem for path in paths}) < len(paths):
        refuse("two pictures have the same name, so their overlays would too; give them one at a time")
    bundle = load_bundle(settings.bundle)
    point = bundle.manifest.operating_point(settings.operating_point)
    with ExitStack() as stack:
        file = None
        if out is not None:
            abstains = how_it_abstains(bundle, settings.abstain)
            file = ResultsFile(out, bundle.manifest, model_sha256=bundle.sha256, point=point.name, abstains=abstains)
            stack.enter_context(file)
        engine = Engine(
            bundle,
            variant=settings.variant,
            provider=settings.provider,
            require_gpu=settings.require_gpu,
            gpu=settings.gpu_options(),
            threads=settings.inference_threads,
        )
        limits = PictureLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
        left = [path for path in paths if file is None or str(path) not in file.done]
        outcomes = answer_all(
            left,
            lambda data: bundle.read_picture(data, limits),
            partial(engine.run, multithreaded=len(left) < engine.workers),
            threads=settings.inference_threads,
            batch=settings.effective_max_batch(engine.provider),
            lanes=engine.workers,
        )
        examiner = make_examiner(bundle, settings.abstain)
        told = (_told(outcome, engine, point, examiner, overlay) for outcome in outcomes)
        if file is None:
            return _print_answers(told, paths, point.name, as_json=as_json)
        return _keep_answers(told, file, num_left=len(left), num_all=len(paths))


class _Told(NamedTuple):
    """A picture's findings, or why there are none."""

    path: Path
    findings: Findings | None
    error: str | None


def _told(
    outcome: Outcome, engine: Engine, point: OperatingPoint, examiner: Examiner | None, overlay: Path | None
) -> _Told:
    if outcome.found is None:
        return _Told(outcome.path, None, outcome.error)
    if overlay is not None:
        try:
            _write_overlays(overlay, outcome.path.stem, *outcome.found)
        except OSError as error:
            return _Told(outcome.path, None, f"{error.filename}: {error.strerror}")
    return _Told(outcome.path, describe(*outcome.found, engine, point, examiner), None)


def _print_answers(told: Iterable[_Told], paths: Sequence[Path], point: str, *, as_json: bool) -> int:
    """One line for each picture on the terminal; how many failed."""
    width = max(len(str(path)) for path in paths)
    if not as_json:
        typer.echo(f"{'picture':<{width}}  {'diagnosis':<26} {'malignant':>9}  {point:<14} reasons")
    failed = 0
    for path, findings, error in told:
        if findings is None:
            failed += 1
            line = json.dumps({"picture": str(path), "error": error}) if as_json else f"{path}: {error}"
            typer.echo(line, err=not as_json)
        else:
            fields = {"picture": str(path), **findings.model_dump(mode="json")}
            typer.echo(json.dumps(fields) if as_json else f"{path!s:<{width}}  {_row(findings)}")
    return failed


def _keep_answers(told: Iterable[_Told], file: ResultsFile, *, num_left: int, num_all: int) -> int:
    """Every answer into the file, the errors on the terminal as well; how many failed."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if num_left < num_all:
        console.print(f"{num_all - num_left} of {num_all} pictures have an answer already")
    failed, began = 0, perf_counter()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[failed]} failed"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=num_left, failed=0)
        for path, findings, error in told:
            file.add(str(path), findings, error)
            if error is not None:
                failed += 1
                console.print(f"{path}: {error}")
            bar.update(task, advance=1, failed=failed)
    seconds = perf_counter() - began
    console.print(
        f"{num_left} pictures in {seconds:.1f} s ({num_left / max(seconds, 1e-9):.1f} a second), {failed} failed"
    )
    return failed


def _row(findings: Findings) -> str:
    decision = findings.decision
    if decision.refer is None:
        return f"{'-':<26} {'-':>9}  {'abstained':<14} {', '.join(decision.reasons)}"
    diagnosis = f"{findings.diagnosis} {findings.probabilities[findings.diagnosis]:.2f}"
    advice = "refer" if decision.refer else "no referral"
    return f"{diagnosis:<26} {decision.malignant_probability:>9.2f}  {advice:<14} {', '.join(decision.reasons) or '-'}"


def _write_overlays(folder: Path, name: str, picture: Picture, answer: Answer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    maps = attention_maps(picture, answer)
    kinds: list[MapKind] = ["lesion"] if answer.spatial_attention is None else ["lesion", "spatial", "correlation"]
    for kind in kinds:
        (folder / f"{name}-{kind}.png").write_bytes(encode(render(maps, OverlayOptions(kind=kind))))


@bundle_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    provider: Annotated[Literal["cpu", "cuda", "tensorrt"], typer.Option(help="Where the network runs.")] = "cpu",
) -> None:
    """Check every file of a bundle, and its canary picture with every variant."""
    try:
        bundle = load_bundle(folder)
        for variant in bundle.manifest.variants:
            engine = Engine(bundle, variant=variant.name, provider=provider, threads=1)
            difference = engine.canary_difference()
            if difference > bundle.canary_tolerance(variant.name):
                refuse(
                    f"{variant.name}: the canary picture's probabilities differ by {difference:.2g} from the bundle's"
                )
            typer.echo(f"{variant.name}: the canary picture's probabilities are within {difference:.2g}")
    except (BundleError, EngineError) as error:
        refuse(str(error))
    manifest = bundle.manifest
    typer.echo(f"{manifest.name} {manifest.version}: {len(manifest.files)} files as written, sha256 {bundle.sha256}")


@bundle_app.command()
def reference(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder; its manifest is written anew.")],
    pictures: Annotated[list[Path], typer.Argument(help="Dermoscopy pictures, and folders of them.")],
    measured_on: Annotated[str, typer.Option(help="What these pictures are.")],
) -> None:
    """Measure how the probabilities are distributed on pictures: what drift is then measured against."""
    try:
        bundle = load_bundle(folder)
        engine = Engine(bundle, variant="fp32", provider="cpu", threads=usable_cpus())
        frames = (bundle.read_picture(path.read_bytes()).frame for path in find_pictures(pictures))
        probabilities = [engine.run(frame[None])[0].probabilities for frame in frames]
        classes = [c.name for c in bundle.manifest.classes]
        measured = measure_reference(probabilities, classes, measured_on=measured_on)
        fields = bundle.manifest.model_dump(exclude={"schema_version", "files"})
        files = {name: bundle.path(name) for name in bundle.manifest.files}
        written = write_bundle(folder, files=files, manifest={**fields, "reference": measured})
    except (ArchiveError, BundleError, EngineError, PictureError) as error:
        refuse(str(error))
    typer.echo(f"{measured.num_pictures} pictures; the bundle's sha256 is now {written.sha256}")


def main() -> None:
    """Entry point of the ``cin`` command."""
    app()
