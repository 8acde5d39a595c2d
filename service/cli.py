"""``cin``: serve, predict without a server, verify a bundle."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.bundle import BundleError, load_bundle
from service.engine import Answer, Engine, EngineError
from service.findings import attention_maps, describe
from service.imaging import Picture, PictureError, PictureLimits, read_picture
from service.overlay import MapKind, OverlayOptions, encode, render
from service.schemas import Findings
from service.settings import Settings

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The Clinical-Inspired Network on dermoscopy pictures. Research software, not a medical device.",
)
bundle_app = typer.Typer(no_args_is_help=True, help="Model bundles.")
app.add_typer(bundle_app, name="bundle")


def _settings() -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [f"CIN_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise _refuse("the settings are not valid: " + "; ".join(lines)) from error
    known = {f"CIN_{name}".upper() for name in Settings.model_fields} | {"CIN_DATA", "CIN_CACHE"}
    for name in sorted(set(filter(lambda n: n.startswith("CIN_"), os.environ)) - known):
        typer.echo(f"cin: warning: {name} is no setting of this service", err=True)
    return settings


def _refuse(message: str) -> typer.Exit:
    typer.echo(f"cin: {message}", err=True)
    return typer.Exit(1)


class _Server(uvicorn.Server):
    """A server that says where to look once it is ready, and remembers why it had to end."""

    failure: str | None = None

    def end_because(self, reason: str) -> None:
        self.failure = reason
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            typer.echo(
                f"\nReady at {url}\n"
                f"  try      curl -F image=@lesion.jpg {url}/predict\n"
                f"  API      {url}/docs\n"
                f"  model    {url}/model\n"
                f"  metrics  {url}/metrics\n"
                "Research software, not a medical device. Ctrl-C ends it.\n"
            )


@app.command()
def serve() -> None:
    """Serve over HTTP. CIN_HOST, CIN_PORT, CIN_BUNDLE and the other CIN_ settings change how."""
    settings = _settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    sockets = [_listen(settings.host, settings.port)]
    if not ip_address(sockets[0].getsockname()[0]).is_loopback:
        log.warning("listening beyond this machine without authentication; put a proxy with one in front")
    server: _Server | None = None

    def on_fatal(reason: str) -> None:
        if server is not None:
            server.end_because(reason)

    try:
        application = create_app(settings, on_fatal)
    except (BundleError, EngineError) as error:
        raise _refuse(str(error)) from error
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=settings.shutdown_seconds,
        server_header=False,
    )
    server = _Server(config)
    server.run(sockets)
    if server.failure is not None or not server.started:
        raise _refuse(server.failure or "the service did not start; the log above says why")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise _refuse(f"cannot listen on {host}:{port} ({error.strerror}); set CIN_HOST or CIN_PORT") from error
    return listening


@app.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Dermoscopy pictures.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a picture, each on its line.")] = False,
    overlay: Annotated[Path | None, typer.Option(help="Folder to write the attention overlays into.")] = None,
) -> None:
    """Diagnose pictures without a server. Exit code 1 when any could not be read."""
    settings = _settings()
    try:
        bundle = load_bundle(settings.bundle)
        engine = Engine(
            bundle,
            variant=settings.variant,
            provider=settings.provider,
            require_gpu=settings.require_gpu,
            threads=settings.inference_threads,
        )
        point = bundle.manifest.operating_point(settings.operating_point)
    except (BundleError, EngineError) as error:
        raise _refuse(str(error)) from error
    limits = PictureLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    failed = False
    for path in pictures:
        try:
            picture = read_picture(path.read_bytes(), bundle.manifest.frame_size, limits)
        except (PictureError, OSError) as error:
            failed = True
            reason = error.strerror if isinstance(error, OSError) else str(error)
            typer.echo(
                json.dumps({"picture": str(path), "error": reason}) if as_json else f"{path}: {reason}",
                err=not as_json,
            )
            continue
        (answer,) = engine.run(picture.frame[None])
        findings = describe(picture, answer, engine, point)
        line = (
            json.dumps({"picture": str(path), **findings.model_dump(mode="json")}) if as_json else _line(path, findings)
        )
        typer.echo(line)
        if overlay is not None:
            _write_overlays(overlay, path, picture, answer)
    if failed:
        raise typer.Exit(1)


def _line(path: Path, findings: Findings) -> str:
    figures = "  ".join(f"{name} {value:.3f}" for name, value in findings.probabilities.items())
    advice = "refer" if findings.decision.refer else "no referral"
    reasons = f" ({', '.join(findings.decision.reasons)})" if findings.decision.reasons else ""
    return f"{path}: {findings.diagnosis}  {figures}  {advice} at {findings.decision.operating_point}{reasons}"


def _write_overlays(folder: Path, path: Path, picture: Picture, answer: Answer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    maps = attention_maps(picture, answer)
    kinds: list[MapKind] = ["lesion"] if answer.spatial_attention is None else ["lesion", "spatial", "correlation"]
    for kind in kinds:
        (folder / f"{path.stem}-{kind}.png").write_bytes(encode(render(maps, OverlayOptions(kind=kind)), "png"))


@bundle_app.command()
def verify(folder: Annotated[Path, typer.Argument(help="The bundle's folder.")]) -> None:
    """Check every file of a bundle, then run its canary picture."""
    try:
        bundle = load_bundle(folder)
        for variant in bundle.manifest.variants:
            engine = Engine(bundle, variant=variant.name, provider="cpu", require_gpu=False, threads=1)
            difference = engine.canary_difference()
            if difference > bundle.manifest.canary.tolerance:
                raise BundleError(f"{variant.name}: the canary picture's probabilities differ by {difference:.2g}")
            typer.echo(f"{variant.name}: canary within {difference:.2g}")
    except (BundleError, EngineError) as error:
        raise _refuse(str(error)) from error
    manifest = bundle.manifest
    typer.echo(f"{manifest.name} {manifest.version}: {len(manifest.files)} files verified, sha256 {bundle.sha256}")


def main() -> None:
    """Entry point of the ``cin`` command."""
    sys.exit(app())
