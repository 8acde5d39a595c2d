"""``cin``: serve, predict without a server, verify a bundle."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from service.app import create_app
from service.bundle import BundleError, load_bundle
from service.engine import Answer, Engine, EngineError
from service.findings import attention_maps, describe
from service.imaging import Picture, PictureError, PictureLimits
from service.overlay import MapKind, OverlayOptions, encode, render
from service.records import RecordsError
from service.schemas import Findings
from service.settings import Settings, unknown_variables

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The Clinical-Inspired Network on dermoscopy pictures. Research software, not a medical device.",
)
bundle_app = typer.Typer(no_args_is_help=True, help="Model bundles.")
app.add_typer(bundle_app, name="bundle")


@app.command()
def serve() -> None:
    """Serve over HTTP. CIN_HOST, CIN_PORT, CIN_BUNDLE and the other CIN_ settings say how."""
    settings = _settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    listening = _listen(settings.host, settings.port)
    if not ip_address(listening.getsockname()[0]).is_loopback:
        log.warning("other machines can reach this port and nothing asks who they are; put a proxy that does in front")
    failures: list[str] = []

    def end(reason: str) -> None:
        failures.append(reason)
        server.should_exit = True

    application = create_app(settings, end)
    config = _config(application, settings)
    server = uvicorn.Server(config)
    # Uvicorn raises the signal that ended it once more; this lets the service be taken down properly even so.
    signal.signal(signal.SIGTERM, _leave)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(application, server, listening))
    except (BundleError, EngineError, RecordsError) as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if failures:
        typer.echo(f"cin: {failures[0]}", err=True)
        logging.shutdown()
        # A device that hangs would keep the interpreter waiting for its thread.
        os._exit(1)


async def _serve(application: FastAPI, server: uvicorn.Server, listening: socket.socket) -> None:
    # The lifespan is run here, not by Uvicorn, which would turn what is wrong with a bundle into a traceback.
    async with application.router.lifespan_context(application):
        _say_where(listening)
        await server.serve([listening])


def _config(application: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,  # paths hold the ids of predictions
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


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
        _refuse(f"cannot listen on {host}:{port} ({error.strerror}); set CIN_HOST or CIN_PORT to a free one")
    return listening


def _say_where(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(
        f"\nServing at {url}\n"
        f"  try      curl -F image=@lesion.jpg {url}/predict\n"
        f"  API      {url}/docs\n"
        f"  model    {url}/model\n"
        f"  metrics  {url}/metrics\n"
        "Research software, not a medical device. Ctrl-C ends it.\n"
    )


@app.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Dermoscopy pictures.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each picture, one a line.")] = False,
    overlay: Annotated[Path | None, typer.Option(help="Folder to write the attention overlays into.")] = None,
) -> None:
    """Diagnose pictures without a server. Exit code 1 when any could not be read."""
    settings = _settings()
    if overlay is not None and len({path.stem for path in pictures}) < len(pictures):
        _refuse("two pictures have the same name, so their overlays would too; give them one at a time")
    try:
        bundle = load_bundle(settings.bundle)
        point = bundle.manifest.operating_point(settings.operating_point)
        engine = Engine(
            bundle,
            variant=settings.variant,
            provider=settings.provider,
            require_gpu=settings.require_gpu,
            threads=settings.inference_threads,
        )
    except (BundleError, EngineError) as error:
        _refuse(str(error))
    limits = PictureLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    width = max(len(str(path)) for path in pictures)
    if not as_json:
        typer.echo(f"{'picture':<{width}}  {'diagnosis':<26} {'malignant':>9}  {point.name:<14} cautions")
    failed = False
    for path in pictures:
        try:
            picture = bundle.read_picture(path.read_bytes(), limits)
            (answer,) = engine.run(picture.frame[None])
            if overlay is not None:
                _write_overlays(overlay, path.stem, picture, answer)
        except (PictureError, EngineError, OSError) as error:
            failed = True
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            line = json.dumps({"picture": str(path), "error": reason}) if as_json else f"{path}: {reason}"
            typer.echo(line, err=not as_json)
            continue
        findings = describe(picture, answer, engine, point)
        fields = {"picture": str(path), **findings.model_dump(mode="json")}
        typer.echo(json.dumps(fields) if as_json else f"{path!s:<{width}}  {_row(findings)}")
    if failed:
        raise typer.Exit(1)


def _row(findings: Findings) -> str:
    decision = findings.decision
    diagnosis = f"{findings.diagnosis} {findings.probabilities[findings.diagnosis]:.2f}"
    advice = "refer" if decision.refer else "no referral"
    return f"{diagnosis:<26} {decision.malignant_probability:>9.2f}  {advice:<14} {', '.join(decision.reasons) or '-'}"


def _write_overlays(folder: Path, name: str, picture: Picture, answer: Answer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    maps = attention_maps(picture, answer)
    kinds: list[MapKind] = ["lesion"] if answer.spatial_attention is None else ["lesion", "spatial", "correlation"]
    for kind in kinds:
        (folder / f"{name}-{kind}.png").write_bytes(encode(render(maps, OverlayOptions(kind=kind)), "png"))


@bundle_app.command()
def verify(folder: Annotated[Path, typer.Argument(help="The bundle's folder.")]) -> None:
    """Check every file of a bundle, and its canary picture with every variant, on the CPU."""
    try:
        bundle = load_bundle(folder)
        for variant in bundle.manifest.variants:
            engine = Engine(bundle, variant=variant.name, provider="cpu", threads=1)
            difference = engine.canary_difference()
            if difference > bundle.manifest.canary.tolerance:
                _refuse(
                    f"{variant.name}: the canary picture's probabilities differ by {difference:.2g} from the bundle's"
                )
            typer.echo(f"{variant.name}: the canary picture's probabilities are within {difference:.2g}")
    except (BundleError, EngineError) as error:
        _refuse(str(error))
    manifest = bundle.manifest
    typer.echo(f"{manifest.name} {manifest.version}: {len(manifest.files)} files as written, sha256 {bundle.sha256}")


def _settings() -> Settings:
    for name in unknown_variables(os.environ):
        typer.echo(f"cin: warning: {name} is no setting of this service; see the list in its documentation", err=True)
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"CIN_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        _refuse("; ".join(wrong))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"cin: {' '.join(message.split())}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the ``cin`` command."""
    app()
