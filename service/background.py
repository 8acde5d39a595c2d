"""What a running service does by itself: delete what expired, see which keys are live, and write both down."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from service.access.keys import AccessError
from service.audit.file import AuditError
from service.storage.store import Purged, RecordsError

if TYPE_CHECKING:
    from service.runtime import Service

log = logging.getLogger(__name__)

PURGE_SECONDS = 30.0
# How long a revoked key may still be taken.
KEYS_SECONDS = 1.0


async def keep_house(service: Service) -> None:
    """Delete expired records also when nobody sends pictures, and write down what went."""
    purged = Purged(0, 0, 0)
    while True:
        await asyncio.sleep(min(PURGE_SECONDS, service.settings.record_ttl_seconds))
        service.renderings.purge()
        await service.audit.check_disk()
        with suppress(AuditError):  # tried again next time
            await note_access_changes(service)
        try:
            now = await service.in_worker(service.records.purge)
        except RecordsError as error:
            log.error("expired predictions could not be deleted: %s", error)
            continue
        service.metrics.purged.labels("expired").inc(now.expired)
        service.metrics.purged.labels("room").inc(now.for_room)
        purged = Purged(purged.expired + now.expired, purged.for_room + now.for_room, now.kept)
        if purged.expired or purged.for_room:
            with suppress(AuditError):  # likewise
                await service.audit.record("purge", **purged._asdict())
                purged = Purged(0, 0, 0)


async def note_access_changes(service: Service) -> None:
    """Write down which keys came and went, and how often somebody without a valid one was refused.

    Refusals together, as strangers may ask as often as they like. Raises :class:`AuditError`; nothing is lost then.
    """
    await _note_key_changes(service)
    await _note_refusals(service)


async def _note_key_changes(service: Service) -> None:
    while service.key_changes:
        came, went = change = service.key_changes.pop(0)
        try:
            await service.audit.record("keys-changed", came=sorted(came), went=sorted(went))
        except AuditError:
            service.key_changes.insert(0, change)
            raise


async def _note_refusals(service: Service) -> None:
    if not service.refused:
        return
    refused, service.refused = service.refused, Counter()
    try:
        await service.audit.record("access-refused", **refused)
    except AuditError:
        service.refused += refused
        raise


async def watch_keys(service: Service) -> None:
    """Take keys that were made, and no longer take those that were revoked, without a restart."""
    said = False
    while service.keys is not None:
        await asyncio.sleep(KEYS_SECONDS)
        try:
            came, went = await service.in_worker(service.keys.look_again)
        except AccessError as error:
            if not said:
                log.error("%s; nobody is let in", error)
            said = True
            continue
        said = False
        if came or went:
            log.info("%d keys came, %d went", len(came), len(went))
            service.key_changes.append((came, went))
            with suppress(AuditError):  # tried again with the refusals
                await _note_key_changes(service)
