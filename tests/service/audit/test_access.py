"""Changes of access in the audit log."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.audit.access import AccessChanges
from service.audit.chain import Entry
from service.audit.file import AuditFile, AuditWriteError
from service.audit.log import AuditLog
from service.metrics import Metrics


@pytest.mark.parametrize("fails", [True, False])
def test_a_change_that_a_hanging_disk_delays_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    path = tmp_path / "audit.jsonl"
    release = threading.Event()
    append = AuditFile.append

    async def play() -> None:
        log = AuditLog(AuditFile(path), metrics=Metrics())

        def hang(file: AuditFile, entries: Sequence[Entry]) -> None:
            release.wait(10)
            monkeypatch.setattr(AuditFile, "append", append)
            if fails:
                raise AuditWriteError("no room")
            append(file, entries)

        monkeypatch.setattr(AuditFile, "append", hang)
        changes = AccessChanges(log)
        changes.refuse("without_key")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await changes.change_keys(set(), {"clinic:1"})
        release.set()
        await changes.write()
        await log.close()

    asyncio.run(play())
    written = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [entry["went"] for entry in written if entry["what"] == "keys-changed"] == [["clinic:1"]]
    assert [entry["without_key"] for entry in written if entry["what"] == "access-refused"] == [1]
