"""What clinicians say: accepted in closed vocabularies, written down, counted, and never with a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.audit.file import AuditWriteError
from service.cli.main import app
from service.ledger.file import LedgerError
from tests.service.api.followed import picture, predicted, say, send
from tests.service.audit.logs import entries_of
from tests.service.conftest import Start, service_of
from tests.service.ledger.ledgers import bytes_in, checked
from tests.service.wire import FORM, check_problem

NAME = "Mustermann"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def client(start: Start, folder: Path) -> Iterator[TestClient]:
    """A service that keeps predictions for a moment, and a ledger."""
    with start(ledger=folder / "ledger.sqlite", audit=folder / "audit.jsonl") as client:
        yield client


def test_feedback_is_kept_in_order_and_audited(client: TestClient, folder: Path) -> None:
    id = predicted(client, picture(), lesion="L-1")["id"]
    said = {"opinion": "disagree", "diagnosis": "basal_cell_carcinoma", "date": "2026-01-05", "recall_months": 3}
    receipt = say(client, id, None, **said)
    assert receipt.status_code == 201
    assert receipt.json() == receipt.json() | said | {"id": id, "histology": None}
    assert say(client, id, histology="nevus").status_code == 201
    images = client.get("/v1/lesions/L-1").json()["visits"][0]["images"]
    assert [(each["diagnosis"], each["histology"]) for each in images[0]["feedback"]] == [
        ("basal_cell_carcinoma", None),
        (None, "nevus"),
    ]
    log = [entry for entry in entries_of(folder / "audit.jsonl") if entry["what"] == "feedback"]
    assert [(entry["by"], entry["id"], entry["outcome"]) for entry in log] == [("anyone", id, "done")] * 2
    assert "carcinoma" not in (folder / "audit.jsonl").read_text()


def test_feedback_after_the_record_has_expired(start: Start, folder: Path) -> None:
    with start(ledger=folder / "ledger.sqlite", record_ttl_seconds=1e-3) as client:
        id = predicted(client, picture())["id"]
        check_problem(client.get(f"/v1/predictions/{id}"), 404)
        assert say(client, id, opinion="agree").status_code == 201


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"date": "2026-01-05"},
        {"opinion": NAME},
        {"opinion": None},
        {"diagnosis": NAME},
        {"histology": "Nevus"},
        {"comment": NAME},
        {NAME: "agree"},
        {"opinion": "agree", "date": NAME},
        {"opinion": "agree", "date": "2999-01-01"},
        {"opinion": "agree", "date": 0},
        {"recall_months": 5},
        {"recall_months": True},
        {"millimetres_per_pixel": 0},
        {"millimetres_per_pixel": 1e9},
    ],
)
def test_anything_else_is_refused_and_not_repeated(client: TestClient, folder: Path, said: dict[str, object]) -> None:
    id = predicted(client, picture())["id"]
    response = say(client, id, None, **said)
    check_problem(response, 400)
    assert NAME not in response.text
    assert checked(folder / "ledger.sqlite").num_feedback == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"agree"', b'{"opinion": "agree"', b"\xff", b"1" * 4000])
def test_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    id = predicted(client, picture())["id"]
    path, headers = f"/v1/predictions/{id}/feedback", {"content-type": "application/json"}
    check_problem(client.post(path, content=body, headers=headers), 400)
    check_problem(client.post(path, content=body, headers={"content-type": "text/plain"}), 400, "application/json")


def test_a_large_body_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    refused = client.post(f"/v1/predictions/{'0' * 32}/feedback", content=b" " * 5000, headers=headers)
    check_problem(refused, 413, "larger than 4,096 bytes")
    assert "picture" not in refused.text


@pytest.mark.parametrize("id", ["0" * 32, NAME])
def test_unknown_predictions(client: TestClient, folder: Path, id: str) -> None:
    check_problem(say(client, id, opinion="agree"), 404)
    assert NAME not in (folder / "audit.jsonl").read_text()


def test_what_cannot_be_audited_is_not_kept(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = predicted(client, picture(), lesion="L-1")["id"]

    async def fail(*_: object, **__: object) -> None:
        raise AuditWriteError("no room")

    monkeypatch.setattr(service_of(client).audit, "record", fail)
    check_problem(say(client, id, opinion="agree"), 503)
    check_problem(send(client, picture(130), lesion="L-1"), 503)
    monkeypatch.undo()
    (visit,) = client.get("/v1/lesions/L-1").json()["visits"]
    assert [(image["id"], image["feedback"]) for image in visit["images"]] == [(id, [])]
    assert checked(folder / "ledger.sqlite").num_erased == 2


def test_a_prediction_that_the_ledger_cannot_keep_is_not_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise LedgerError("no disk")

    monkeypatch.setattr(service_of(client).ledger, "add", fail)
    check_problem(send(client, picture()), 503, "ledger")
    monkeypatch.undo()
    assert client.portal is not None
    assert client.portal.call(service_of(client).records.purge).kept == 0
    outcomes = [entry["outcome"] for entry in entries_of(folder / "audit.jsonl") if entry["what"] == "prediction"]
    assert outcomes == ["not-ready"]


def test_a_ledger_that_fails_makes_the_service_not_ready(client: TestClient, folder: Path) -> None:
    path = folder / "ledger.sqlite"
    path.rename(folder / "away")
    check_problem(send(client, picture()), 503, "ledger")
    assert client.get("/readyz").status_code == 503
    assert "ledger" in client.get("/readyz").json()["reason"]
    (folder / "away").rename(path)
    assert send(client, picture()).status_code == 201
    assert client.get("/readyz").status_code == 200


def test_feedback_is_counted_by_advice_opinion_and_histology(client: TestClient) -> None:
    id = predicted(client, picture())["id"]
    say(client, id, opinion="agree")
    say(client, id, histology="melanoma")
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith("cin_feedback_total{")]
    counted = {line.rpartition(" ")[0] for line in lines if not line.endswith(" 0.0")}
    assert counted == {
        'cin_feedback_total{advice="refer",histology="none",opinion="agree"}',
        'cin_feedback_total{advice="refer",histology="malignant",opinion="none"}',
    }


def test_no_image_no_name_and_no_text_reach_the_ledger(client: TestClient, folder: Path) -> None:
    headers = {"user-agent": NAME, "x-request-id": NAME, "idempotency-key": NAME, "referer": NAME}
    named = {"image": (f"{NAME}.png", FORM["image"][1])}
    first = client.post("/v1/predictions", files=named, headers=headers, params={"lesion": "L-1"})
    id = first.json()["id"]
    client.post("/v1/predictions/batch", files=named, data={"reference": NAME, "lesion": "L-2"}, headers=headers)
    say(client, id, headers, opinion="agree")
    say(client, id, headers, opinion="agree", comment=NAME)
    say(client, id, headers, diagnosis=NAME)
    send(client, picture(), lesion=NAME)
    client.get(f"/v1/lesions/{NAME}")
    found = bytes_in(folder)
    assert b"L-1" in found
    assert NAME.encode() not in found
    assert FORM["image"][1][:64] not in found
    assert FORM["image"][1][100:164] not in found
    assert checked(folder / "ledger.sqlite").num_answers == 2


def test_a_repeated_request_is_one_answer_and_another_lesion_another(client: TestClient) -> None:
    key = {"idempotency-key": "k"}
    first, again = (predicted(client, picture(), key, lesion="L-1", visit="2026-01-05") for _ in range(2))
    other = predicted(client, picture(), key, lesion="L-2", visit="2026-01-05")
    assert first["id"] == again["id"] != other["id"]
    assert client.get("/v1/lesions/L-1").json()["visits"][0]["num_images"] == 1


def test_the_report_on_the_command_line(client: TestClient, folder: Path) -> None:
    ledger = ["--ledger", str(folder / "ledger.sqlite")]
    id = predicted(client, picture())["id"]
    say(client, id, opinion="agree", histology="melanoma")
    told = CliRunner().invoke(app, ["feedback", "report", *ledger])
    assert told.exit_code == 0, told.output
    assert "tiny 0.0.1 at balanced, by histology" in told.output
    assert "sensitivity    1.000 (0.207 to 1.000)" in told.output
    as_json = CliRunner().invoke(app, ["feedback", "report", *ledger, "--json"])
    assert '"num_answers": 1' in as_json.output
    assert CliRunner().invoke(app, ["feedback", "report", "--ledger", str(folder / "none")]).exit_code == 1
    assert not (folder / "none").exists()
