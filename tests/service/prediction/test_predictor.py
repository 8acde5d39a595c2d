"""The transaction: a prediction is kept, written down and counted, or none of it."""

from __future__ import annotations

from typing import Any

import pytest

from service.audit.file import AuditWriteError
from service.storage.store import RecordsError
from tests.service.conftest import Start, service_of
from tests.service.wire import PICTURE, check_problem, post


def num_counted(metrics: str) -> float:
    """Predictions of any diagnosis."""
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("cin_predictions_total{"))


def test_an_audit_log_that_fails_hides_no_bug(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise AuditWriteError("no room")

    with start() as client:
        monkeypatch.setattr(service_of(client).audit, "record", fail)
        monkeypatch.setattr("service.prediction.predictor.describe", lambda *_: 1 / 0)
        check_problem(post(client, PICTURE), 500, "logged")
        monkeypatch.undo()
    assert "unexpected ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("where", ["records", "audit", "trust"])
def test_what_cannot_be_committed_leaves_nothing(start: Start, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    with start() as client:
        service = service_of(client)
        assert post(client, PICTURE).status_code == 200

        async def fail(*_: object, **__: object) -> None:
            if where == "records":
                raise RecordsError("no disk")
            if where == "audit":
                raise AuditWriteError("no room")
            service.health.fail("the canary tripped")

        if where == "records":
            monkeypatch.setattr(service.records, "put", fail)
        else:
            monkeypatch.setattr(service.audit, "record", fail)
        check_problem(post(client, PICTURE), 503)
        monkeypatch.undo()
        assert num_counted(client.get("/metrics").text) == 1
        assert client.portal is not None
        kept: Any = client.portal.call(service.records.purge)
        assert kept.kept == 1
