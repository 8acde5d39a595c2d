"""Background tasks: one that fails is noticed."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.access.keys import LiveKeys
from tests.service.conftest import Start
from tests.service.served import make_key


def test_a_background_task_that_fails_ends_the_answers_and_the_audit_log_is_finished(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, log = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    make_key(keys, "clinic")
    with start(keys=keys, audit=log) as client:
        monkeypatch.setattr(LiveKeys, "look_again", Mock(side_effect=MemoryError))
        until = time.monotonic() + 10
        while client.get("/readyz").status_code == 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert "MemoryError" in client.get("/readyz").text
    assert '"what":"stop"' in log.read_text().splitlines()[-1]
