"""What a running service records, and what it prints of the log's head."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.access.keys import ANYONE, Caller
from service.api.routes.batches import predict_all
from service.audit.chain import Entry, verify
from service.audit.file import AuditFile, AuditWriteError
from service.bundle import Bundle
from service.inference.sessions import HostSession, Outputs
from service.storage.store import Record
from tests.service.audit.logs import predictions, verified_entries
from tests.service.conftest import Start, service_of, store_of
from tests.service.served import make_key
from tests.service.waiting import wait_until
from tests.service.wire import FORM, PICTURE, check_problem, post


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    """What it says beyond being a link of the chain."""
    return {name: value for name, value in entry.items() if name not in ("seq", "previous", "at", "sha256")}


def test_who_did_what_to_which_prediction(start: Start, tiny_bundle: Bundle, tmp_path: Path) -> None:
    log, keys = tmp_path / "audit.jsonl", tmp_path / "keys.json"
    made = {name: {"Authorization": f"Bearer {make_key(keys, name)}"} for name in ("one", "two")}
    with start(audit=log, keys=keys) as client:
        found = client.post("/predict", files=FORM, headers=made["one"]).json()
        id = found["id"]
        client.post("/predict", files={"image": ("x.jpg", PICTURE[:300])}, headers=made["two"])
        forms = [("image", ("a", PICTURE)), ("image", ("b", b"none"))]
        batch = client.post("/predict/batch", files=forms, headers=made["one"]).json()["answers"]
        client.get(f"/predictions/{id}", headers=made["two"])
        client.get(found["attention"]["lesion"], headers=made["one"])
        client.get("/predictions/not-an-id", headers=made["one"])
        client.delete(f"/predictions/{id}", headers=made["one"])
        client.get("/model")
        client.get("/model", headers={"Authorization": "Bearer cin_" + "A" * 43})
        client.get("/metrics", headers=made["one"])
    begin, *middle, refused, end = [_told(entry) for entry in verified_entries(log)]
    model = {"model": tiny_bundle.sha256, "variant": "fp32"}
    assert begin == begin | {"what": "start", "provider": "cpu", **model}
    assert sorted(key.partition(":")[0] for key in begin["keys"]) == ["one", "two"]
    assert refused == {"what": "access-refused", "without_key": 1, "with_unknown_key": 1}
    assert end == {"what": "stop", "reason": "shutting down"}
    one, two = ({"by": key} for key in begin["keys"])
    first = batch[0]["prediction"]["id"]
    expected = [
        {"what": "prediction", **one, "id": id, "outcome": "answered", **model},
        {"what": "prediction", **two, "outcome": "undecodable-picture", **model},
        {"what": "prediction", **one, "id": first, "outcome": "answered", **model},
        {"what": "prediction", **one, "outcome": "unsupported-type", **model},
        {"what": "prediction-read", **two, "id": id, "outcome": "not-found"},
        {"what": "attention-read", **one, "id": id, "outcome": "done"},
        {"what": "prediction-read", **one, "outcome": "not-found"},
        {"what": "prediction-delete", **one, "id": id, "outcome": "requested"},
        {"what": "prediction-delete", **one, "id": id, "outcome": "done"},
    ]
    # The images of a batch are answered side by side.
    assert sorted(middle[2:4], key=lambda told: told["outcome"]) == expected[2:4]
    assert [*middle[:2], *middle[4:]] == [*expected[:2], *expected[4:]]


def test_a_picture_that_was_given_up_is_noted_too(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    run = HostSession.run

    def slow(session: HostSession, frames: NDArray[np.uint8]) -> Outputs:
        time.sleep(1)
        return run(session, frames)

    with start(audit=log, deadline_seconds=0.5) as client:
        monkeypatch.setattr(HostSession, "run", slow)
        check_problem(post(client, PICTURE), 504)
    (noted,) = predictions(log)
    assert (noted["outcome"], noted["by"], "id" in noted) == ("given-up", "anyone", False)


def test_given_up_while_it_was_kept_it_is_not_kept(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    with start(audit=log, deadline_seconds=0.5) as client:
        records = store_of(client)
        put, kept = records.put, []

        def slow(id: str, record: Record) -> None:
            time.sleep(1)
            put(id, record)
            kept.append(id)

        monkeypatch.setattr(records, "put", slow)
        check_problem(post(client, PICTURE), 504)
        wait_until(lambda: len(kept) == 1, "the thread is done")
        wait_until(lambda: records.purge().kept == 0, "it is deleted")
    assert [(entry["outcome"], entry["id"]) for entry in predictions(log)] == [("given-up", kept[0])]


def test_given_up_while_it_was_written_down_it_is_not_kept(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    with start(audit=log, deadline_seconds=0.5) as client:
        append = AuditFile.append

        def slow(file: AuditFile, entries: Sequence[Entry]) -> None:
            time.sleep(1)
            append(file, entries)

        monkeypatch.setattr(AuditFile, "append", slow)
        check_problem(post(client, PICTURE), 504)
        wait_until(lambda: store_of(client).purge().kept == 0, "it is deleted")
    answered, given_up = predictions(log)
    assert (answered["outcome"], given_up["outcome"]) == ("answered", "given-up")
    assert answered["id"] == given_up["id"]


def test_pictures_of_a_batch_that_nobody_waits_for_are_not_kept(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    with start(audit=log) as client:
        service = service_of(client)
        submit, calls = service.scheduler.batcher.submit, []

        async def second_hangs(frame: Any) -> Any:
            calls.append(frame)
            if len(calls) == 2:
                await asyncio.sleep(60)
            return await submit(frame)

        async def play() -> None:
            ends = asyncio.get_running_loop().time() + 30
            two = [PICTURE, PICTURE]
            predictor = service.predictor
            caller, began = Caller(ANYONE, ANYONE), time.perf_counter()
            work = predict_all(predictor, two, caller, predictor.point, [None, None], began=began, ends=ends)
            task = asyncio.create_task(work)
            while not predictions(log):
                await asyncio.sleep(0.01)
            assert store_of(client).purge().kept == 1
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        monkeypatch.setattr(service.scheduler.batcher, "submit", second_hangs)
        assert client.portal is not None
        client.portal.call(play)
        wait_until(lambda: store_of(client).purge().kept == 0, "it is deleted")
    noted = predictions(log)
    assert [entry["outcome"] for entry in noted] == ["answered", "given-up", "given-up"]
    assert noted[0]["id"] in [entry.get("id") for entry in noted[1:]]


def test_what_expired_is_proven_gone(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with start(audit=log, record_ttl_seconds=0.3) as client:
        for _ in range(3):
            assert post(client, PICTURE).status_code == 200
        wait_until(lambda: sum(e.get("expired", 0) for e in verified_entries(log)) == 3, "three purged")
        kept = [entry["kept"] for entry in verified_entries(log) if entry["what"] == "purge"]
        assert kept[-1] == 0
        assert 'cin_purged_total{reason="expired"} 3.0' in client.get("/metrics").text


def test_keys_that_come_and_go_are_noticed(start: Start, tmp_path: Path) -> None:
    log, keys = tmp_path / "audit.jsonl", tmp_path / "keys.json"
    make_key(keys, "one")
    with start(audit=log, keys=keys):
        make_key(keys, "two")
        wait_until(lambda: verified_entries(log)[-1]["what"] == "keys-changed", "the new key is in the log")
    (changed,) = [entry for entry in verified_entries(log) if entry["what"] == "keys-changed"]
    assert [key.partition(":")[0] for key in changed["came"]] == ["two"]
    assert changed["went"] == []


def test_keys_that_came_while_it_could_not_be_written_are_written_later(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, keys = tmp_path / "audit.jsonl", tmp_path / "keys.json"
    make_key(keys, "one")
    with start(audit=log, keys=keys):
        tried = threading.Event()

        def fail(*_: object) -> None:
            tried.set()
            raise AuditWriteError("no room")

        monkeypatch.setattr(AuditFile, "append", fail)
        make_key(keys, "two")
        assert tried.wait(10)
        monkeypatch.undo()
    (changed,) = [entry for entry in verified_entries(log) if entry["what"] == "keys-changed"]
    assert [key.partition(":")[0] for key in changed["came"]] == ["two"]


def test_off_it_writes_nothing(start: Start, tmp_path: Path) -> None:
    with start() as client:
        assert post(client, PICTURE).status_code == 200
        assert "cin_audit_chain_ok 1.0" in client.get("/metrics").text
        assert "cin_audit_free_bytes NaN" in client.get("/metrics").text
    assert list(tmp_path.iterdir()) == []


def test_the_head_is_printed_at_start_and_stop_and_every_hour(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "audit.jsonl"

    def printed() -> list[str]:
        said = (record.getMessage() for record in caplog.records if record.name == "service.audit.log")
        return [words.rpartition(" ")[2] for words in said if "head" in words]

    caplog.set_level("INFO", "service")
    monkeypatch.setattr("service.background.HEAD_SECONDS", 0.05)
    with start(audit=log) as client:
        assert post(client, PICTURE).status_code == 200
        wait_until(lambda: any(head.startswith("2:") for head in printed()), "the head is printed again")
    first, *_, last = printed()
    lines = log.read_bytes().splitlines(keepends=True)
    assert first == str(verify(lines[:1]).head)
    assert last == str(verify(lines).head)
