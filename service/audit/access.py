"""Changes of access for the audit log: keys added and removed, and requests refused without a valid key."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Literal

from service.audit.log import AuditLog

Refused = Literal["without_key", "with_unknown_key"]


class AccessChanges:
    """Collects changes until they are written; lives on one event loop.

    Refusals are written together, not one by one: anyone can cause any number of them. A cancelled caller does not
    cancel a write, so a timeout loses no change.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._keys: list[tuple[set[str], set[str]]] = []
        self._refused: Counter[str] = Counter()
        self._lock = asyncio.Lock()

    def refuse(self, why: Refused) -> None:
        """Count a request that was refused."""
        self._refused[why] += 1

    async def change_keys(self, came: set[str], went: set[str]) -> None:
        """Record a change of the key file. Raises :class:`AuditError`; :meth:`write` then tries again."""
        self._keys.append((came, went))
        await self.write()

    async def write(self) -> None:
        """Write what was collected. On :class:`AuditError` it is kept for the next call."""
        task = asyncio.create_task(self._write())
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # the audit log logs it
        await asyncio.shield(task)

    async def _write(self) -> None:
        async with self._lock:
            while self._keys:
                came, went = self._keys[0]
                await self._audit.record("keys-changed", came=sorted(came), went=sorted(went))
                del self._keys[0]
            if self._refused:
                refused = Counter(self._refused)
                await self._audit.record("access-refused", **refused)
                self._refused -= refused
