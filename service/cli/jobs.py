"""``cin jobs``: work on the jobs that services take."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

import typer

from service.access.keys import AccessError
from service.api.error_handlers import outcome_of, problem_of
from service.audit.file import AuditError
from service.bundle import BundleError
from service.cli.common import log_to_stderr, read_settings, refuse, serve_metrics
from service.imaging.decoder_process import keep_memory_private
from service.imaging.kinds import READS_DICOM
from service.inference.answers import EngineError
from service.jobs.dicomweb import Source
from service.jobs.job import Handler, JobsError
from service.jobs.metrics import ServiceMetrics
from service.jobs.store import JobStore
from service.jobs.webhook_rules import WebhookError, read_key
from service.jobs.worker import Worker
from service.ledger.file import LedgerError
from service.runtime import Service, running
from service.settings import Settings
from service.storage.store import RecordsError

log = logging.getLogger(__name__)

app = typer.Typer(no_args_is_help=True)

# Requests come first where both share a machine.
_NICE = 10


@app.callback()
def options() -> None:
    """Jobs: many images at once."""


@app.command()
def work() -> None:
    """Work on the jobs in CIN_JOBS_URL, until SIGTERM or Ctrl-C.

    It makes predictions as the service does, with the same CIN_ settings. It may be started, ended and killed at any
    time, also several at once, on one machine or many.
    """
    settings = read_settings()
    if settings.jobs_url is None:
        refuse("set CIN_JOBS_URL to the Redis that the service puts jobs into, and CIN_RECORDS_URL to that of records")
    if settings.webhook_key_file is not None and find_spec("httpx") is None:
        refuse("install the service with its extra [jobs], which announces the ends of jobs")
    if settings.dicomweb_servers is not None and not (READS_DICOM and find_spec("httpx")):
        refuse("install the service with its extra [dicom], which asks DICOMweb servers")
    keep_memory_private()
    os.nice(_NICE)
    log_to_stderr(settings.log_level)
    try:
        failure = asyncio.run(_work(settings))
    except (AccessError, AuditError, BundleError, EngineError, JobsError, LedgerError, RecordsError) as error:
        refuse(str(error))
    except WebhookError as error:
        refuse(str(error))
    if failure is not None:
        typer.echo(f"cin: {failure}", err=True)
        logging.shutdown()
        os._exit(1)  # the interpreter would wait for the thread of a device that hangs


async def _work(settings: Settings) -> str | None:
    """Why it ended, None when it was asked to."""
    assert settings.jobs_url is not None
    failures: list[str] = []
    stopping = asyncio.Event()

    def end(reason: str) -> None:
        failures.append(reason)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    metrics = ServiceMetrics()
    key = None if settings.webhook_key_file is None else read_key(settings.webhook_key_file)
    async with running(settings, metrics, end, outcome_of) as service:
        store = JobStore(settings.jobs_url.get_secret_value(), patient_until=stopping)
        await store.require_durable()
        if settings.metrics_port is not None:
            serve_metrics(metrics.registry, settings.host, settings.metrics_port)
        log.info("%s works on jobs", service.scheduler.engine.variant.name)
        async with _announcing(service, store, key) as announce, _asking(service) as source:
            await _worker(service, store, stopping, announce, source).run()
    return failures[0] if failures else None


@asynccontextmanager
async def _announcing(service: Service, store: JobStore, key: bytes | None) -> AsyncIterator[Handler | None]:
    if key is None:
        yield None
        return
    from service.jobs.webhook_sender import Webhooks

    origins = service.settings.webhook_origins
    async with Webhooks(store, key, origins, service.keys, service.metrics.jobs) as webhooks:
        yield webhooks.announce


@asynccontextmanager
async def _asking(service: Service) -> AsyncIterator[Source | None]:
    """Of DICOMweb servers. Ends the command when one cannot be asked as it is configured."""
    if not service.dicomweb:
        yield None
        return
    from service.pacs.client import PacsRefused
    from service.pacs.source import open_source

    try:
        async with open_source(service.dicomweb, service.settings) as source:
            yield source
    except PacsRefused as error:
        raise JobsError(str(error)) from error


def _worker(
    service: Service, store: JobStore, stopping: asyncio.Event, announce: Handler | None, source: Source | None
) -> Worker:
    return Worker(
        store,
        service.predictor,
        service.keys,
        problem_of,
        service.metrics.jobs,
        in_flight=service.scheduler.threads + service.scheduler.max_batch,
        deadline_seconds=service.settings.deadline_seconds,
        source=source,
        announce=announce,
        stopping=stopping,
    )
