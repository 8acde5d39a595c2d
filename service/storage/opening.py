"""Which store the settings name."""

from __future__ import annotations

from service.settings import Settings
from service.storage.redis import RedisRecords
from service.storage.sqlite import SqliteRecords
from service.storage.store import RecordStore


def open_store(settings: Settings) -> RecordStore:
    """The store of predictions. Raises :class:`RecordsError` when it does not work."""
    ttl, budget = settings.record_ttl_seconds, settings.record_max_bytes
    if settings.records_url is not None:
        return RedisRecords(settings.records_url.get_secret_value(), ttl_seconds=ttl, max_bytes=budget)
    return SqliteRecords(settings.records_folder, ttl_seconds=ttl, max_bytes=budget)
