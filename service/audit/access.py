"""Changes of access for the audit log: keys added and removed, and requests refused without a valid key."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from service.audit.file import AuditError
from service.audit.log import AuditLog

Refused = Literal["without_key", "with_unknown_key"]


class AccessChanges:
    """Collects changes until they are written; lives on one event loop.

    Refusals are written together and not one by one: a stranger may cause any number of them.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._keys: list[tuple[set[str], set[str]]] = []
        self._refused: Counter[str] = Counter()

    def refuse(self, why: Refused) -> None:
        """Count a request that was refused."""
        self._refused[why] += 1

    async def change_keys(self, came: set[str], went: set[str]) -> None:
        """Write down a change of the key file. Raises :class:`AuditError`; :meth:`write` then tries again."""
        self._keys.append((came, went))
        await self._write_keys()

    async def write(self) -> None:
        """Write what was collected. Raises :class:`AuditError`; nothing is lost then."""
        await self._write_keys()
        if self._refused:
            refused, self._refused = self._refused, Counter()
            try:
                await self._audit.record("access-refused", **refused)
            except AuditError:
                self._refused += refused
                raise

    async def _write_keys(self) -> None:
        while self._keys:
            came, went = change = self._keys.pop(0)
            try:
                await self._audit.record("keys-changed", came=sorted(came), went=sorted(went))
            except AuditError:
                self._keys.insert(0, change)
                raise
