"""``cin serve``: the service over HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from types import FrameType
from typing import Annotated, Any, NoReturn, cast

import typer
import uvicorn
from fastapi import FastAPI

from service.access.keys import AccessError, is_loopback, published_host, require_keys_beyond_loopback
from service.app import create_app
from service.audit.file import AuditError
from service.bundle import BundleError
from service.cli.common import log_to_stderr, read_settings, refuse, serve_metrics
from service.imaging.decoder_pool import MOST_IDLE
from service.imaging.decoder_process import keep_memory_private
from service.inference.answers import EngineError
from service.jobs.job import JobsError
from service.ledger.file import LedgerError
from service.metrics import Metrics
from service.server.connections import ConnectionLimits, Guard
from service.settings import Settings
from service.storage.store import RecordsError

log = logging.getLogger(__name__)

# Time for uploads to connect that this replica has just admitted.
_DRAIN_SECONDS = 0.5
# Beyond the time for requests: to write down the end, and to close what is open.
_LEAVE_SECONDS = 8.0


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: CIN_HOST, or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: CIN_PORT, or 8000.")] = None,
) -> None:
    """Serve over HTTP. CIN_BUNDLE and the other CIN_ settings say how."""
    settings = read_settings(host=host, port=port)
    keep_memory_private()
    log_to_stderr(settings.log_level)
    listening = _listen(settings.host, settings.port)
    address = listening.getsockname()[0] if settings.published is None else published_host(settings.published)
    try:
        require_keys_beyond_loopback(address, keys=settings.keys, allow_anyone=settings.allow_anyone)
    except AccessError as error:
        refuse(str(error))
    if settings.keys is None and not is_loopback(address):
        log.warning("other machines can reach this service, and it asks them for no key")
    failures: list[str] = []

    def end(reason: str) -> None:
        failures.append(reason)
        asyncio.get_running_loop().call_later(settings.farewell_seconds, leave)

    def leave() -> None:
        server.should_exit = True
        _end_within(settings.shutdown_seconds + _LEAVE_SECONDS)

    application = create_app(settings, end)
    config = server_config(application, settings)
    server = _Server(config, application)
    # Uvicorn raises the signal that ended it a second time; this way the lifespan still shuts down.
    signal.signal(signal.SIGTERM, _leave)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(application, server, listening, settings))
    except (AccessError, AuditError, BundleError, EngineError, JobsError, LedgerError, RecordsError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if failures:
        typer.echo(f"cin: {failures[0]}", err=True)
        logging.shutdown()
        # The interpreter would wait for the thread of a device that hangs.
        os._exit(1)


class _Server(uvicorn.Server):
    """A server that refuses admission a moment before it stops listening, so that proxies choose another replica."""

    def __init__(self, config: uvicorn.Config, application: FastAPI) -> None:
        super().__init__(config)
        self._application, self._drains = application, False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See :class:`uvicorn.Server`; a second signal does not wait."""
        if self._drains:
            super().handle_exit(sig, frame)
            return
        self._drains = True
        self._application.state.service.health.draining = True
        asyncio.get_running_loop().call_later(_DRAIN_SECONDS, super().handle_exit, sig, frame)
        _end_within(_DRAIN_SECONDS + (self.config.timeout_graceful_shutdown or 0) + _LEAVE_SECONDS)


def _end_within(seconds: float) -> None:
    """End this process then, if it still runs: Python waits for its threads, and they wait for a disk that hangs."""

    def end() -> None:
        log.critical("a disk or a device holds up the end; ended without it")
        logging.shutdown()
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def _serve(application: FastAPI, server: uvicorn.Server, listening: socket.socket, settings: Settings) -> None:
    # The lifespan runs here and not in Uvicorn, which would turn an invalid bundle into a traceback.
    async with application.router.lifespan_context(application):
        # Not earlier: a canary that did not run yet would look like one that failed.
        if settings.metrics_port is not None:
            serve_metrics(application.state.metrics.registry, settings.host, settings.metrics_port)
        _say_where(listening)
        await server.serve([listening])


def server_config(application: FastAPI, settings: Settings) -> uvicorn.Config:
    """Uvicorn's configuration for an app whose lifespan the caller runs."""
    metrics: Metrics = application.state.metrics
    limits = ConnectionLimits(
        max_connections=settings.max_connections,
        # Sockets of decoders: idle ones, one for each thread, one for a costly image, and the other end of a new one.
        spare_files=MOST_IDLE + settings.inference_threads + 2,
        head_seconds=settings.head_seconds,
        stall_seconds=settings.stall_seconds,
        # The route gives up first: it can say why.
        body_seconds=1.2 * settings.deadline_seconds,
    )
    guard = Guard(limits, on_close=lambda reason: metrics.closed.labels(reason).inc())
    return uvicorn.Config(
        application,
        http=cast(Any, guard.protocol),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,  # paths hold the ids of predictions
        server_header=False,
        # Only trusted proxies may say who the client is.
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
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
        refuse(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --host or --port, or CIN_HOST, CIN_PORT"
        )
    return listening


def _say_where(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(
        f"\nServing at {url}\n"
        f"  page     {url}/\n"
        f"  try      curl -F image=@lesion.jpg {url}/predict\n"
        f"  API      {url}/docs\n"
        f"  model    {url}/v1/model\n"
        f"  metrics  {url}/metrics\n"
        "Research software, not a medical device. Ctrl-C ends it.\n"
    )
