"""Records in Redis, shared by several replicas, so that each can draw every overlay.

Replies of Redis are checked, and have a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from service.storage.maps import MAX_BYTES, pack_maps
from service.storage.store import (
    DamagedRecord,
    Purged,
    Record,
    RecordExists,
    RecordsError,
    RecordsFull,
    StoredRecord,
    client_of,
)

T = TypeVar("T")

# One hash tag, so that a cluster keeps all keys on one node, where a script can use them together.
_PREFIX = "cin:{records}"
# Keys of earlier versions, which had no expiry.
_OLD_BOOKS = ("ages", "sizes", "total")
# To connect, and for each part of a reply. A healthy Redis answers within milliseconds.
_TIMEOUT_SECONDS = 2.0

# Every script is atomic and uses the clock of Redis, so replicas need no common time. Records also have Redis' own
# expiry, so they are deleted in time when no service runs; the next script removes them from the books: bytes held by
# each client, bytes of each record, and the records of each client by age.
_BOOKS = """
local prefix, ttl = KEYS[1], tonumber(ARGV[1])
local held, sizes, gone = prefix .. ':held', prefix .. ':bytes', prefix .. ':gone'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- What others wrote into the books counts as nothing.
local function whole(text) return text and string.match(text, '^%d+$') and tonumber(text) or 0 end
local function add(client, size)
    redis.call('HSET', held, client, math.max(0, whole(redis.call('HGET', held, client)) + size))
end
local function ages(client) return prefix .. ':ages:' .. client end
local function forget(client, id)
    add(client, 0 - whole(redis.call('HGET', sizes, id)))
    redis.call('HDEL', sizes, id)
    redis.call('ZREM', ages(client), id)
    if redis.call('ZCARD', ages(client)) == 0 then redis.call('HDEL', held, client) end
    return redis.call('DEL', prefix .. ':' .. id)
end
for _, client in ipairs(redis.call('HKEYS', held)) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', ages(client), '-inf', now - ttl)) do
        forget(client, id)
        redis.call('HINCRBY', gone, 'expired', 1)
    end
end
"""
_PUT = """
local id, owner, client, prediction, maps, budget = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local size = #prediction + #maps
if redis.call('EXISTS', prefix .. ':' .. id) == 1 then
    -- The same call again, when its first reply was lost.
    return (redis.pcall('HGET', prefix .. ':' .. id, 'prediction') == prediction) and 1 or 0
end
forget(client, id)
while true do
    local total, most, largest = size, -1, nil
    local shares = redis.call('HGETALL', held)
    for i = 1, #shares, 2 do
        local bytes = whole(shares[i + 1])
        total = total + bytes
        if shares[i] == client then bytes = bytes + size end
        if bytes > most then most, largest = bytes, shares[i] end
    end
    if total <= budget or not largest then break end
    forget(largest, redis.call('ZRANGE', ages(largest), 0, 0)[1] or '')
    redis.call('HINCRBY', gone, 'for_room', 1)
end
redis.call('HSET', prefix .. ':' .. id, 'owner', owner, 'prediction', prediction, 'maps', maps)
redis.call('PEXPIRE', prefix .. ':' .. id, ttl)
redis.call('ZADD', ages(client), now, id)
redis.call('HSET', sizes, id, size)
add(client, size)
return 1
"""
# Needs no books: expired records are deleted already. A record that is too large is not sent.
_GET = """
local record = KEYS[1] .. ':' .. ARGV[1]
if redis.call('TYPE', record).ok ~= 'hash' then return redis.call('EXISTS', record) end
if redis.call('HGET', record, 'owner') ~= ARGV[2] then return 0 end
local size = redis.call('HSTRLEN', record, 'prediction') + redis.call('HSTRLEN', record, 'maps')
if size > tonumber(ARGV[3]) then return 1 end
return redis.call('HMGET', record, 'prediction', 'maps')
"""
_DELETE = """
if redis.call('HGET', prefix .. ':' .. ARGV[2], 'owner') ~= ARGV[3] then return 0 end
return forget(ARGV[4], ARGV[2])
"""
# Resets the counts, so that only one replica reports them.
_PURGE = """
local counts, kept = redis.call('HMGET', gone, 'expired', 'for_room'), 0
redis.call('DEL', gone)
for _, client in ipairs(redis.call('HKEYS', held)) do kept = kept + redis.call('ZCARD', ages(client)) end
return {tonumber(counts[1]) or 0, tonumber(counts[2]) or 0, kept}
"""


class RedisRecords:
    """Records behind a Redis URL; see :class:`service.storage.store.RecordStore`.

    All services that use the database share one byte budget.
    """

    def __init__(self, url: str, *, ttl_seconds: float, max_bytes: int) -> None:
        """Raises :class:`RecordsError` for an invalid URL, or a Redis that does not answer."""
        self._ttl, self._max_bytes = max(1, round(ttl_seconds * 1000)), max_bytes
        self._is_closed = False
        try:
            self._redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
                redis_connect_func=self._on_connect,
                # A pooled connection may have ended since its last use. A timeout is not retried.
                retry=Retry(ConstantBackoff(0.05), retries=1, supported_errors=(redis.ConnectionError,)),
            )
        except ValueError as error:
            raise RecordsError("CIN_RECORDS_URL is not a URL of Redis; write redis://host:6379/0") from error
        where = self._redis.connection_pool.connection_kwargs
        self._name = str(where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}")
        self._put, self._delete, self._purge = (
            self._redis.register_script(_BOOKS + script) for script in (_PUT, _DELETE, _PURGE)
        )
        self._get = self._redis.register_script(_GET)
        self._ask(lambda: self._redis.delete(*(f"{_PREFIX}:{book}" for book in _OLD_BOOKS)))

    def _on_connect(self, connection: Any) -> None:
        if self._is_closed:
            raise redis.RedisError("it was closed")
        connection.on_connect()

    def _ask(self, call: Callable[[], T]) -> T:
        """The result of ``call``, which also parses the reply. Any error means that the reply is malformed."""
        try:
            return call()
        except redis.OutOfMemoryError as error:
            raise RecordsFull(
                f"Redis at {self._name} is full; raise its maxmemory, or CIN_RECORD_MAX_BYTES below"
            ) from error
        except Exception as error:
            reason = error if isinstance(error, redis.RedisError) else f"an invalid reply, {type(error).__name__}"
            raise RecordsError(
                f"Redis at {self._name} cannot be used ({reason}); check that it runs, and CIN_RECORDS_URL"
            ) from error

    def put(self, id: str, record: Record) -> None:
        """See :class:`RecordStore`."""
        owner, maps = record.owner, pack_maps(record.maps)
        args: list[Any] = [self._ttl, id, owner, client_of(owner), record.prediction, maps, self._max_bytes]
        if not self._ask(lambda: self._put(keys=[_PREFIX], args=args)):
            raise RecordExists("a record has that id already")

    def get(self, id: str, owner: str) -> StoredRecord | None:
        """See :class:`RecordStore`."""
        found = self._ask(lambda: self._get(keys=[_PREFIX], args=[id, owner, MAX_BYTES]))
        match found:
            case 0:
                return None
            case [bytes(prediction), bytes(maps)]:
                try:
                    return StoredRecord(prediction.decode(), maps)
                except UnicodeDecodeError:
                    pass
        raise DamagedRecord(f"a record in Redis at {self._name} was not written by this service")

    def delete(self, id: str, owner: str) -> bool:
        """See :class:`RecordStore`."""
        return bool(self._ask(lambda: self._delete(keys=[_PREFIX], args=[self._ttl, id, owner, client_of(owner)])))

    def purge(self) -> Purged:
        """See :class:`RecordStore`."""
        return self._ask(lambda: Purged(*map(int, self._purge(keys=[_PREFIX], args=[self._ttl]))))

    def interrupt(self) -> None:
        """See :class:`RecordStore`."""
        self._redis.connection_pool.disconnect(inuse_connections=True)

    def close(self) -> None:
        """See :class:`RecordStore`."""
        self._is_closed = True
        self.interrupt()
