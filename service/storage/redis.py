"""Records in Redis: several replicas share them, so that each can draw every overlay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from service.storage.store import Purged, Record, RecordsError, RecordsFull, StoredRecord, pack_maps

T = TypeVar("T")

# One hash tag, so that a cluster keeps all keys on one node, where a script can use them together.
_PREFIX = "cin:{records}"
_TIMEOUT_SECONDS = 5.0

# Every script is atomic and uses the clock of Redis, so replicas need no common time. Records also have Redis' own
# expiry: they go on time when no service runs, and the next script removes them from ages and sizes.
_BOOKS = """
local prefix, ttl = KEYS[1], tonumber(ARGV[1])
local ages, sizes, total, gone = prefix .. ':ages', prefix .. ':sizes', prefix .. ':total', prefix .. ':gone'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(id)
    redis.call('DECRBY', total, redis.call('HGET', sizes, id) or 0)
    redis.call('HDEL', sizes, id)
    redis.call('ZREM', ages, id)
    return redis.call('DEL', prefix .. ':' .. id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ages, '-inf', now - ttl)) do
    forget(id)
    redis.call('HINCRBY', gone, 'expired', 1)
end
"""
_PUT = """
local id, owner, prediction, maps, budget = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local size = #prediction + #maps
forget(id)
while tonumber(redis.call('GET', total)) + size > budget do
    local oldest = redis.call('ZRANGE', ages, 0, 0)[1]
    if not oldest then break end
    forget(oldest)
    redis.call('HINCRBY', gone, 'for_room', 1)
end
redis.call('HSET', prefix .. ':' .. id, 'owner', owner, 'prediction', prediction, 'maps', maps)
redis.call('PEXPIRE', prefix .. ':' .. id, ttl)
redis.call('ZADD', ages, now, id)
redis.call('HSET', sizes, id, size)
redis.call('INCRBY', total, size)
"""
_DELETE = """
if redis.call('HGET', prefix .. ':' .. ARGV[2], 'owner') ~= ARGV[3] then return 0 end
return forget(ARGV[2])
"""
# The counts are reset, so that one replica reports them.
_PURGE = """
local told = redis.call('HMGET', gone, 'expired', 'for_room')
redis.call('DEL', gone)
return {tonumber(told[1] or 0), tonumber(told[2] or 0), redis.call('ZCARD', ages)}
"""


class RedisRecords:
    """Records behind a Redis URL; see :class:`service.storage.store.RecordStore`.

    All services that use the database share one byte budget.
    """

    def __init__(self, url: str, *, ttl_seconds: float, max_bytes: int) -> None:
        """Raises :class:`RecordsError` for an invalid URL, or a Redis that does not answer."""
        self._ttl, self._max_bytes = max(1, round(ttl_seconds * 1000)), max_bytes
        try:
            self._redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
                retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries=2),
            )
        except ValueError as error:
            raise RecordsError("CIN_RECORDS_URL is not a URL of Redis; write redis://host:6379/0") from error
        where = self._redis.connection_pool.connection_kwargs
        self._name = str(where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}")
        self._put, self._delete, self._purge = (
            self._redis.register_script(_BOOKS + script) for script in (_PUT, _DELETE, _PURGE)
        )
        self._ask(self._redis.ping)

    def _ask(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        try:
            return call(*arguments, **named)
        except redis.OutOfMemoryError as error:
            raise RecordsFull(
                f"Redis at {self._name} is full; raise its maxmemory, or CIN_RECORD_MAX_BYTES below"
            ) from error
        except redis.RedisError as error:
            raise RecordsError(
                f"Redis at {self._name} cannot be used ({error}); check that it runs, and CIN_RECORDS_URL"
            ) from error

    def put(self, id: str, record: Record) -> None:
        """See :class:`RecordStore`."""
        values = [self._ttl, id, record.owner, record.prediction, pack_maps(record.maps), self._max_bytes]
        self._ask(self._put, keys=[_PREFIX], args=values)

    def get(self, id: str, owner: str) -> StoredRecord | None:
        """See :class:`RecordStore`."""
        whose, prediction, maps = self._ask(self._redis.hmget, f"{_PREFIX}:{id}", "owner", "prediction", "maps")
        return StoredRecord(prediction.decode(), maps) if whose == owner.encode() else None

    def delete(self, id: str, owner: str) -> bool:
        """See :class:`RecordStore`."""
        return bool(self._ask(self._delete, keys=[_PREFIX], args=[self._ttl, id, owner]))

    def purge(self) -> Purged:
        """See :class:`RecordStore`."""
        return Purged(*self._ask(self._purge, keys=[_PREFIX], args=[self._ttl]))

    def close(self) -> None:
        """See :class:`RecordStore`."""
        self._redis.close()
