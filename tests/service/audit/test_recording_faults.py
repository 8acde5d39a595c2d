"""A running service whose log cannot be written, was changed or removed, or that is killed."""

from __future__ import annotations

import json
import resource
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.audit.chain import Entry, verify
from service.audit.file import AuditError, AuditFile, AuditWriteError
from service.bundle import Bundle
from tests.service.audit.logs import verified_entries
from tests.service.conftest import Start, store_of
from tests.service.served import Served, served
from tests.service.waiting import wait_until
from tests.service.wire import FORM, PICTURE, check_problem, post


def _leave_room(service: Served, num_bytes: int | None) -> None:
    """The running process may write files up to that size, as on a disk that is full then; None: any size."""
    _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
    soft = resource.RLIM_INFINITY if num_bytes is None else num_bytes
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_under_a_running_service(tiny_bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with served(tiny_bundle.folder, CIN_AUDIT=str(log)) as service:
        with service.client() as client:
            kept = client.post("/predict", files=FORM).json()["id"]
            _leave_room(service, log.stat().st_size + 100)
            answer = client.post("/predict", files=FORM)
            read = client.get(f"/predictions/{kept}")
            deleted = client.delete(f"/predictions/{kept}")
            assert "cin_audit_chain_ok 0.0" in client.get("/metrics").text
            check_problem(answer, 503, "audit log")
            assert answer.headers["retry-after"]
            check_problem(read, 503, "audit log")
            check_problem(deleted, 503, "audit log")
            assert str(tmp_path) not in answer.text
            assert client.get("/readyz").json()["reason"] == "the audit log takes no entries"
            batch = client.post("/predict/batch", files=[("image", ("a", PICTURE))]).json()["answers"]
            assert batch[0]["problem"]["type"] == "urn:cin:problem:not-ready"
            assert len(verified_entries(log)) == 2, "no half line"
            _leave_room(service, None)
            assert client.get(f"/predictions/{kept}").status_code == 200
            assert client.post("/predict", files=FORM).status_code == 200
            assert client.get("/readyz").status_code == 200
            assert "cin_audit_chain_ok 1.0" in client.get("/metrics").text
        assert service.end() == 0
    what = [entry["what"] for entry in verified_entries(log)]
    assert what == ["start", "prediction", "prediction-read", "prediction", "stop"]


def test_what_was_not_written_down_is_not_kept(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(audit=tmp_path / "audit.jsonl") as client:

        def fail(*_: object) -> None:
            raise AuditWriteError("no room")

        monkeypatch.setattr(AuditFile, "append", fail)
        check_problem(post(client, PICTURE), 503, "audit log")
        monkeypatch.undo()
        assert store_of(client).purge().kept == 0


def test_what_a_disk_that_hangs_may_yet_hold_is_taken_back(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.audit.log.DEADLINE_SECONDS", 0.3)
    log, append, works = tmp_path / "audit.jsonl", AuditFile.append, threading.Event()

    def hang(file: AuditFile, entries: Sequence[Entry]) -> None:
        assert works.wait(20)
        append(file, entries)

    with start(audit=log) as client:
        kept = post(client, PICTURE).json()["id"]
        monkeypatch.setattr(AuditFile, "append", hang)
        try:
            check_problem(post(client, PICTURE), 503, "audit log")
            for answer in (post(client, PICTURE), client.get(f"/predictions/{kept}"), client.get("/readyz")):
                assert answer.status_code == 503
        finally:
            works.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert store_of(client).purge().kept == 1
    outcomes = [entry["outcome"] for entry in verified_entries(log) if entry["what"] == "prediction"]
    assert outcomes == ["answered", "answered", "not-ready"]


def test_a_log_that_was_changed_ends_all_service(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with start(audit=log) as client:
        assert post(client, PICTURE).status_code == 200
        log.write_bytes(log.read_bytes()[:100])
        check_problem(post(client, PICTURE), 503, "audit log")
        assert "cin_audit_chain_ok 0.0" in client.get("/metrics").text
    log.write_bytes(b"something else\n")
    with pytest.raises(AuditError, match="cin audit verify"), start(audit=log):
        pass


def test_a_log_that_is_removed_under_a_running_service(tiny_bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with served(tiny_bundle.folder, CIN_AUDIT=str(log)) as service, service.client() as client:
        kept = client.post("/predict", files=FORM).json()["id"]
        head = verify(log.read_bytes().splitlines(keepends=True)).head
        log.unlink()
        check_problem(client.post("/predict", files=FORM), 503, "audit log")
        check_problem(client.get(f"/predictions/{kept}"), 503, "audit log")
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert "cin_audit_chain_ok 0.0" in client.get("/metrics").text
        assert service.end() == 0
    (gap,) = verified_entries(log)
    assert (gap["what"], gap["seq"], gap["previous"]) == ("gap", head.seq + 1, head.sha256)
    assert any("removed or replaced" in line and "ERROR" in line for line in service.output)
    # Started again, it serves, and the entry stays.
    with served(tiny_bundle.folder, CIN_AUDIT=str(log)) as service, service.client() as client:
        assert client.post("/predict", files=FORM).status_code == 200
        assert service.end() == 0
    assert [entry["what"] for entry in verified_entries(log)] == ["gap", "start", "prediction", "stop"]


def test_killed_under_load_its_chain_holds_every_answer(tiny_bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    for _ in range(3):
        with served(tiny_bundle.folder, CIN_AUDIT=str(log)) as service:
            ids: list[str] = []

            def send(service: Served = service, ids: list[str] = ids) -> None:
                with service.client() as client:
                    while True:
                        try:
                            answer = client.post("/predict", files=FORM)
                        except Exception:
                            return
                        ids.append(answer.json()["id"])

            threads = [threading.Thread(target=send) for _ in range(3)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(ids) > 10, "ten answers")  # noqa: B023
            service.process.kill()
            for thread in threads:
                thread.join()
        lines = log.read_bytes().splitlines(keepends=True)
        verify(lines)
        noted = Counter(json.loads(line).get("id") for line in lines if line.endswith(b"\n"))
        assert all(noted[id] == 1 for id in ids), "an answer without an entry"
