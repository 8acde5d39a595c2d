"""The log that requests share: one wait for the disk, refusals, and gaps found without a request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.audit.chain import Entry
from service.audit.file import AuditError, AuditFile, AuditWriteError
from service.audit.log import AuditHangs, AuditLog
from service.metrics import Metrics
from tests.service.audit.logs import verified_entries


class SlowFile(AuditFile):
    """A log on a disk that takes its time."""

    def __init__(self, path: Path, *, fails: bool = False) -> None:
        self.calls: list[int] = []
        self.fails = False
        super().__init__(path, max_bytes=2**20)
        self.fails = fails

    def append(self, entries: Sequence[Entry]) -> None:
        self.calls.append(len(entries))
        time.sleep(0.02)
        if self.fails:
            raise AuditWriteError("no room")
        super().append(entries)


class HangingFile(AuditFile):
    """A log on a disk that works, or hangs."""

    def __init__(self, path: Path) -> None:
        self.works = threading.Event()
        self.works.set()
        super().__init__(path)

    def append(self, entries: Sequence[Entry]) -> None:
        assert self.works.wait(20)
        super().append(entries)


def test_requests_share_the_wait_for_the_disk(tmp_path: Path) -> None:
    async def play() -> SlowFile:
        file = SlowFile(tmp_path / "audit.jsonl")
        log = AuditLog(file, metrics=Metrics())
        await asyncio.gather(*(log.record("a", number=number) for number in range(200)))
        await log.close()
        return file

    file = asyncio.run(play())
    assert len(file.calls) <= 4, "not one wait for each"
    assert [entry["number"] for entry in verified_entries(tmp_path / "audit.jsonl")] == list(range(200))


def test_a_caller_that_left_does_not_disturb_the_others(tmp_path: Path) -> None:
    async def play() -> None:
        log = AuditLog(SlowFile(tmp_path / "audit.jsonl"), metrics=Metrics())
        tasks = [asyncio.create_task(log.record("a", number=number)) for number in range(3)]
        await asyncio.sleep(0.005)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.record("b")
        await log.close()

    asyncio.run(play())
    assert [entry["what"] for entry in verified_entries(tmp_path / "audit.jsonl")] == ["a", "a", "a", "b"]


def test_refused_entries_are_not_written_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def play() -> list[str]:
        file = SlowFile(path)
        log = AuditLog(file, metrics=Metrics())
        outcomes = []
        for number, fails in enumerate((False, True, True, False)):
            file.fails = fails
            try:
                await log.record("a", number=number)
                outcomes.append("recorded")
            except AuditError:
                outcomes.append("refused")
        await log.close()
        return outcomes

    outcomes = asyncio.run(play())
    told = [(entry["what"], entry["number"]) for entry in verified_entries(path)]
    assert outcomes == ["recorded", "refused", "refused", "recorded"]
    assert told == [("a", 0), ("a", 3)]


def test_room_again_is_found_without_a_request(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def play() -> list[bool]:
        file = SlowFile(path, fails=True)
        log = AuditLog(file, metrics=Metrics())
        refusing = [log.refusing]
        with pytest.raises(AuditWriteError):
            await log.record("a")
        refusing.append(log.refusing)
        await log.check_disk()
        refusing.append(log.refusing)
        file.fails = False
        await log.check_disk()
        refusing.append(log.refusing)
        await log.check_disk()
        await log.close()
        return refusing

    assert asyncio.run(play()) == [False, True, True, False]
    assert [entry["what"] for entry in verified_entries(path)] == ["writable-again"]


def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.audit.log.DEADLINE_SECONDS", 0.1)
    path = tmp_path / "audit.jsonl"

    async def play() -> None:
        file, metrics = HangingFile(path), Metrics()
        log = AuditLog(file, metrics=metrics)
        file.works.clear()
        with pytest.raises(AuditHangs):
            await log.record("a")
        began = time.monotonic()
        with pytest.raises(AuditWriteError, match="does not answer"):
            await log.record("b")
        assert time.monotonic() - began < 0.05, "at once"
        assert log.refusing
        assert metrics.registry.get_sample_value("cin_audit_chain_ok") == 0
        log.note("c")
        await log.check_disk()
        file.works.set()
        await log.close()
        assert not log.refusing
        assert metrics.registry.get_sample_value("cin_audit_chain_ok") == 1

    asyncio.run(play())
    assert [entry["what"] for entry in verified_entries(path)] == ["a", "c"]


def test_a_disk_that_hangs_is_found_without_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.audit.log.DEADLINE_SECONDS", 0.1)

    async def play() -> None:
        file = HangingFile(tmp_path / "audit.jsonl")
        log = AuditLog(file, metrics=Metrics())
        file.works.clear()
        await log.check_disk()
        assert log.refusing
        file.works.set()
        await log.check_disk()
        assert not log.refusing
        await log.record("a")
        await log.close()

    asyncio.run(play())


def test_a_gap_is_found_without_a_request(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def play() -> list[bool]:
        log = AuditLog(AuditFile(path), metrics=Metrics())
        await log.record("a")
        await log.check_disk()
        refusing = [log.refusing]
        path.unlink()
        await log.check_disk()
        refusing.append(log.refusing)
        await log.check_disk()
        refusing.append(log.refusing)
        await log.close()
        return refusing

    assert asyncio.run(play()) == [False, True, True]
    assert [entry["what"] for entry in verified_entries(path)] == ["gap"]
