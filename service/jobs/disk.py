"""What Redis writes to its disk, and when it erases there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis
from redis.client import Pipeline

from service.jobs.job import PREFIX, JobsError

_ERASED, _REWRITTEN = f"{PREFIX}:erased", f"{PREFIX}:rewritten"
_REWRITE_SECONDS = 60


def require_durable(client: Any) -> None:
    """Raises :class:`JobsError` for a Redis that would lose or evict what it was given."""
    told = client.info("persistence", "memory")
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    found = {
        "appendonly": "yes" if told.get("aof_enabled") == 1 else "no",
        "maxmemory-policy": told.get("maxmemory_policy", "noeviction"),
    }
    with suppress(redis.ResponseError):  # it may not be asked for its configuration
        found |= client.config_get("appendfsync")
    for name, value in wanted.items():
        if found.get(name, value) != value:
            raise JobsError(f"the jobs' Redis would lose some of them; start it with --{name} {value}")


def note_erasure(pipe: Pipeline) -> None:
    """Note that something is erased, which is in Redis' file until that is written again."""
    pipe.set(_ERASED, 1)


def rewrite(client: Any) -> None:
    """Where something was erased, have Redis write its file again without it; once a minute, whoever asks."""
    if client.exists(_ERASED) and client.set(_REWRITTEN, 1, nx=True, ex=_REWRITE_SECONDS):
        client.delete(_ERASED)
        try:
            client.bgrewriteaof()
        except redis.ResponseError:  # it is at it already, perhaps with what was erased
            client.set(_ERASED, 1)
