"""Sends webhooks: the end of a job, announced to its client's server with retries.

An announcement holds no figure and no image: it says where to ask. Only origins that the operator named are addressed,
redirects are not followed, and nothing of an answer but its status is read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import httpx

from service.access.keys import LiveKeys
from service.jobs.job import Job
from service.jobs.metrics import JobMetrics
from service.jobs.store import JobStore
from service.jobs.webhook_rules import WebhookError, require_allowed, signature

log = logging.getLogger(__name__)

_SECONDS = 10.0
# Two hours in all.
MOST_TRIES = 12
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 3600.0


@dataclass
class Webhooks:
    """Announces the ends of jobs; lives on one event loop, and closes its connections with ``async with``."""

    store: JobStore
    key: bytes
    origins: Collection[str]
    keys: LiveKeys | None
    metrics: JobMetrics
    transport: httpx.AsyncBaseTransport | None = None

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            timeout=_SECONDS,
            verify=ssl.create_default_context(),
            trust_env=False,  # neither another proxy nor passwords of a .netrc
            follow_redirects=False,
            transport=self.transport,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def announce(self, id: str) -> None:
        """Try once: record in Redis that it was taken or given up, or when the next try is due."""
        job = await self.store.get(id)
        if job is None or job.notified != "waiting":
            return
        num_try = job.announcements + 1
        if await self._is_taken(job):
            self.metrics.webhooks.labels("delivered").inc()
            await self.store.note(id, "delivered")
        elif num_try >= MOST_TRIES:
            log.warning("the end of a job could not be announced within %d tries", num_try)
            self.metrics.webhooks.labels("given_up").inc()
            await self.store.note(id, "given_up")
        else:
            self.metrics.webhooks.labels("failed").inc()
            pause = min(_FIRST_PAUSE * 2 ** (num_try - 1), _LONGEST_PAUSE)
            await self.store.announce_later(id, seconds=pause)

    async def _is_taken(self, job: Job) -> bool:
        """Whether its server took it. The settings may have changed since the job was sent, and keys revoked."""
        if job.webhook_url is None or (self.keys is not None and job.owner not in self.keys.named):
            return False
        status, timestamp = job.status().model_copy(update={"webhook": "delivered"}), int(time.time())
        assert status.ended_at is not None  # or it would not be announced
        said = {"type": "job.done", "timestamp": status.ended_at.isoformat(), "data": status.model_dump(mode="json")}
        body = json.dumps(said, separators=(",", ":")).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "cin",
            "webhook-id": job.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self.key, job.id, timestamp, body),
        }
        try:
            require_allowed(job.webhook_url, self.origins)
            async with (
                asyncio.timeout(_SECONDS),
                self._client.stream("POST", job.webhook_url, content=body, headers=headers) as response,
            ):
                return response.is_success
        except (WebhookError, TimeoutError, httpx.HTTPError):
            return False
