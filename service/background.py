"""Background tasks, each at its interval: check canary, decoder, store and ledger, delete what expired, reload the key
file, log the head of the audit chain.

The canary's interval is the setting ``canary_seconds``, five minutes by default.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from service.access.keys import STALE_SECONDS, AccessError, LiveKeys
from service.admission.admission import Busy
from service.attention.cache import OverlayCache
from service.audit.access import AccessChanges
from service.audit.file import AuditError
from service.audit.log import AuditLog
from service.health import Health
from service.imaging import PictureError
from service.imaging.fork_server import DecoderError
from service.inference.memory import give_back_freed
from service.ledger.file import LedgerError
from service.ledger.ledger import Ledger
from service.metrics import Metrics
from service.storage.records import Records
from service.storage.store import Purged, RecordsError

log = logging.getLogger(__name__)

PURGE_SECONDS = 30.0
# How long a failure or recovery of the store may go unnoticed without requests.
STORE_SECONDS = 2.0
# Timeout of a decoder check; a decoder that is busy or hangs is checked again next time.
_DECODER_SECONDS = 30.0
# How long a revoked key may still be accepted.
KEYS_SECONDS = 1.0
# The audit log's head in the process's log proves what the audit log contained by then.
HEAD_SECONDS = 3600.0


def start(work: Coroutine[Any, Any, None], health: Health) -> asyncio.Task[None]:
    """Run a background task; if it fails, the service takes no more requests, so that no task stops unnoticed."""

    def on_end(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)
            health.fail(f"a background task failed ({type(error).__name__})")

    task = asyncio.create_task(work)
    task.add_done_callback(on_end)
    return task


async def watch_canary(health: Health, *, every_seconds: float) -> None:
    """Check the canary until the service can no longer be trusted."""
    while health.failure is None:
        await asyncio.sleep(every_seconds)
        await health.check_canary()


async def watch_decoder(health: Health, check_decoder: Callable[[], Awaitable[None]], *, every_seconds: float) -> None:
    """Decode the canary, separately from :func:`watch_canary`: a hanging device may keep the decoder waiting."""
    while health.failure is None:
        await asyncio.sleep(every_seconds)
        try:
            async with asyncio.timeout(_DECODER_SECONDS):
                await check_decoder()
        except (TimeoutError, Busy, DecoderError, PictureError) as error:  # requests get the same error
            log.warning("the canary image was not decoded (%s); it is tried again later", type(error).__name__)


async def purge(
    records: Records,
    overlays: OverlayCache,
    audit: AuditLog,
    changes: AccessChanges,
    metrics: Metrics,
    *,
    every_seconds: float,
) -> None:
    """Delete expired predictions and overlays, and write access changes to the audit log."""
    purged = Purged(0, 0, 0)
    while True:
        await asyncio.sleep(every_seconds)
        overlays.purge()
        await asyncio.to_thread(give_back_freed)  # memory of uploads
        await audit.check_disk()
        with suppress(AuditError):  # tried again next time
            await changes.write()
        try:
            now = await records.purge()
        except RecordsError:
            log.error("expired predictions could not be deleted")
            continue
        metrics.purged.labels("expired").inc(now.expired)
        metrics.purged.labels("room").inc(now.for_room)
        purged = Purged(purged.expired + now.expired, purged.for_room + now.for_room, now.kept)
        if purged.expired or purged.for_room:
            with suppress(AuditError):  # tried again next time
                await audit.record("purge", **purged._asdict())
                purged = Purged(0, 0, 0)


async def log_audit_head(audit: AuditLog) -> None:
    """Print the audit log's head every hour."""
    while True:
        await asyncio.sleep(HEAD_SECONDS)
        audit.log_head()


async def watch_store(records: Records) -> None:
    """Check the store of predictions, for readiness."""
    while True:
        await asyncio.sleep(STORE_SECONDS)
        with suppress(RecordsError):  # logged, and kept in ``records``
            await records.check()


async def watch_ledger(ledger: Ledger, metrics: Metrics) -> None:
    """Check the ledger, for readiness."""
    while True:
        with suppress(LedgerError):  # logged, and kept in ``ledger``
            await ledger.check()
        metrics.ledger_ok.set(not ledger.failing)
        await asyncio.sleep(STORE_SECONDS)


async def reload_keys(keys: LiveKeys, changes: AccessChanges) -> None:
    """Reload the key file within a second of a change, on its own thread."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
    failed = False
    try:
        while True:
            await asyncio.sleep(KEYS_SECONDS)
            look = asyncio.get_running_loop().run_in_executor(thread, keys.look_again)
            if not (await asyncio.wait([look], timeout=STALE_SECONDS))[0]:
                log.error("the key file's volume does not answer; no key is accepted until it does")
            try:
                came, went = await look
            except AccessError as error:
                if not failed:  # once, not every second
                    log.error("%s; no key is accepted until it is fixed", error)
                failed = True
                continue
            failed = False
            if came or went:
                log.info("%d keys came, %d went", len(came), len(went))
                # A hanging disk must not delay the next revocation: the write continues without this task, and the
                # purge repeats it after an error.
                with suppress(AuditError, TimeoutError):
                    async with asyncio.timeout(KEYS_SECONDS):
                        await changes.change_keys(came, went)
    finally:
        thread.shutdown(wait=False)
