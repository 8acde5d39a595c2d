"""Background tasks: one that fails is noticed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.access.keys import LiveKeys
from service.inference.scheduler import Scheduler
from tests.service.conftest import Start
from tests.service.served import make_key
from tests.service.waiting import wait_until


def test_a_background_task_that_fails_ends_the_answers_and_the_audit_log_is_finished(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, log = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    make_key(keys, "clinic")
    with start(keys=keys, audit=log) as client:
        monkeypatch.setattr(LiveKeys, "look_again", Mock(side_effect=MemoryError))
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert "MemoryError" in client.get("/readyz").text
    assert '"what":"stop"' in log.read_text().splitlines()[-1]


def test_no_key_is_accepted_while_the_volume_of_their_file_hangs(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.background.KEYS_SECONDS", 0.05)
    monkeypatch.setattr("service.background.STALE_SECONDS", 1.0)
    monkeypatch.setattr("service.access.keys.STALE_SECONDS", 1.0)
    headers = {"Authorization": f"Bearer {make_key(tmp_path / 'keys.json', 'clinic')}"}
    look_again, release = LiveKeys.look_again, threading.Event()

    def hang(keys: LiveKeys) -> tuple[set[str], set[str]]:
        release.wait(20)
        return look_again(keys)

    with start(keys=tmp_path / "keys.json") as client:
        assert client.get("/model", headers=headers).status_code == 200
        monkeypatch.setattr(LiveKeys, "look_again", hang)
        try:
            wait_until(lambda: client.get("/model", headers=headers).status_code == 503)
            wait_until(lambda: "no key is accepted" in caplog.text)
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["reason"]) == (503, "which keys are valid cannot be told")
        finally:
            release.set()
        wait_until(lambda: client.get("/model", headers=headers).status_code == 200)
        assert client.get("/readyz").status_code == 200


def test_keys_are_accepted_at_once_after_a_slow_start(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.access.keys.STALE_SECONDS", 1.0)
    warm_up = Scheduler.warm_up

    async def slowly(scheduler: Scheduler) -> None:
        await asyncio.sleep(1.2)
        await warm_up(scheduler)

    monkeypatch.setattr(Scheduler, "warm_up", slowly)
    headers = {"Authorization": f"Bearer {make_key(tmp_path / 'keys.json', 'clinic')}"}
    with start(keys=tmp_path / "keys.json") as client:
        assert client.get("/model", headers=headers).status_code == 200
