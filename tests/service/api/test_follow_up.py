"""Lesions over their visits, as a running service answers: timeline, worklist, recalls, deletion, two callers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from icalendar import Calendar
from PIL import Image, ImageDraw

from service.bundle import Bundle
from tests.service.api.followed import picture, predicted, repeatable_bundle, say, send
from tests.service.audit.logs import entries_of, verified_entries
from tests.service.conftest import Start
from tests.service.imaging.cases import PIXELS
from tests.service.imaging.dicoms import PATIENT, of_array
from tests.service.ledger.ledgers import bytes_in, checked
from tests.service.served import make_key
from tests.service.tiny_bundle import picture_bytes
from tests.service.wire import check_problem

DARK = picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return repeatable_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def followed(start: Start, bundle: Bundle, tmp_path: Path) -> Iterator[TestClient]:
    """A service with a ledger and an audit log."""
    with start(bundle=bundle.folder, ledger=tmp_path / "l" / "ledger.sqlite", audit=tmp_path / "audit.jsonl") as client:
        yield client


def test_a_change_below_the_repeatability_is_none(followed: TestClient) -> None:
    for visit, red in (("2026-01-05", 120), ("2026-04-05", 140), ("2026-07-05", 255)):
        sent = predicted(followed, picture(red), lesion="L-1", visit=visit)
        assert sent["follow_up"] == {"lesion": "L-1", "visit": visit}
    first, second, third = followed.get("/v1/lesions/L-1").json()["visits"]
    assert first["changes"] == []
    (small,) = second["changes"]
    assert 0 < small["malignant_probability"] < 0.2
    assert (small["verdict"], small["since"]) == ("none", "2026-01-05")
    assert small["repeatability"] == {"median_change": 0.05, "percentile_95_change": 0.2}
    large = third["changes"][-1]
    assert large["malignant_probability"] == pytest.approx(
        third["malignant_probability"] - first["malignant_probability"]
    )
    assert (large["verdict"], large["since"]) == (
        "higher" if large["malignant_probability"] >= 0.2 else "none",
        "2026-01-05",
    )


def test_millimetres_agree_with_a_ruler_in_the_image(followed: TestClient) -> None:
    """A lesion of 6.4 mm beside a ruler of 10 mm, which is 200 pixels long."""
    image = Image.new("RGB", (256, 256), (230, 200, 190))
    draw = ImageDraw.Draw(image)
    draw.ellipse((64, 64, 192, 192), fill=(120, 20, 20))
    draw.line((28, 245, 228, 245), fill=(90, 90, 90))
    id = predicted(followed, picture_bytes(image), lesion="L-1")["id"]
    (visit,) = followed.get("/v1/lesions/L-1").json()["visits"]
    assert visit["size"] is None
    assert say(followed, id, millimetres_per_pixel=10 / 200).status_code == 201
    (visit,) = followed.get("/v1/lesions/L-1").json()["visits"]
    assert visit["size"]["along_mm"] == pytest.approx(128 * 10 / 200, abs=0.2)
    assert visit["size"]["across_mm"] == pytest.approx(128 * 10 / 200, abs=0.2)
    area = math.pi / 4 * visit["size"]["along_mm"] * visit["size"]["across_mm"]
    assert area == pytest.approx(math.pi * 3.2**2, rel=0.05)


def test_a_batch_names_a_lesion_for_each_picture(followed: TestClient) -> None:
    files = [("image", ("x", picture(red))) for red in (120, 130, 140)]
    fields = {"lesion": ["L-1", "", "L-2"], "visit": ["2026-01-05", "", ""], "reference": ["a", "b", "c"]}
    answers = followed.post("/v1/predictions/batch", files=files, data=fields).json()["answers"]
    one, none, two = (answer["prediction"]["follow_up"] for answer in answers)
    assert one == {"lesion": "L-1", "visit": "2026-01-05"}
    assert none is None
    assert two["lesion"] == "L-2"
    listed = followed.get("/v1/lesions").json()["items"]
    assert [(item["lesion"], item["num_images"]) for item in listed] == [("L-2", 1), ("L-1", 1)]
    assert [answer["reference"] for answer in answers] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "fields",
    [{"lesion": ["L-1"]}, {"lesion": ["anna", "anna"]}, {"visit": ["2026-01-05"] * 2}, {"lesion": ["L-1", "L-1" * 30]}],
)
def test_a_batch_with_wrong_fields_is_refused_whole(followed: TestClient, fields: dict[str, list[str]]) -> None:
    files = [("image", ("x", picture()))] * 2
    check_problem(followed.post("/v1/predictions/batch", files=files, data=fields), 400, "lesion")
    assert followed.get("/v1/lesions").json() == {"items": []}


@pytest.mark.parametrize(
    "query",
    [
        {"lesion": "Anna Mueller"},
        {"lesion": "anna"},
        {"lesion": "=1"},
        {"lesion": "L-1", "visit": "yesterday"},
        {"lesion": "L-1", "visit": "1700000000"},
        {"lesion": "L-1", "visit": "2999-01-01"},
        {"lesion": "L-1", "visit": "2026-02-30"},
        {"visit": "2026-01-05"},
    ],
)
def test_names_and_other_dates_are_refused(followed: TestClient, query: dict[str, str]) -> None:
    response = send(followed, picture(), None, **query)
    check_problem(response, 400)
    assert "nna" not in response.text


def test_a_tracking_uid_is_a_label(followed: TestClient) -> None:
    uid = "2.25." + "9" * 39
    predicted(followed, picture(), lesion=uid)
    assert followed.get(f"/v1/lesions/{uid}").json()["lesion"] == uid


def test_a_dicom_file_names_its_lesion_itself(followed: TestClient, tmp_path: Path) -> None:
    """The lesion is tracked over studies; what the caller names counts before."""
    uid = "2.25.77"
    first, second = (of_array(PIXELS, TrackingUID=uid, StudyDate=day) for day in ("20260105", "20260405"))
    undated = of_array(PIXELS, TrackingUID=uid, StudyDate="99990101")
    kind = {"content-type": "application/dicom"}
    for data, day in ((first, "2026-01-05"), (second, "2026-04-05"), (undated, str(datetime.now(UTC).date()))):
        assert predicted(followed, data, kind)["follow_up"] == {"lesion": uid, "visit": day}
    named = predicted(followed, first, kind, lesion="L-1", visit="2026-02-02")
    assert named["follow_up"] == {"lesion": "L-1", "visit": "2026-02-02"}
    visits = followed.get(f"/v1/lesions/{uid}").json()["visits"]
    assert [visit["num_images"] for visit in visits] == [1, 1, 1]
    files = [("image", data) for data in (first, picture())]
    answers = followed.post("/v1/predictions/batch", files=files, data={"lesion": ["", "L-2"]}).json()["answers"]
    assert [answer["prediction"]["follow_up"]["lesion"] for answer in answers] == [uid, "L-2"]
    kept = bytes_in(tmp_path)
    assert uid.encode() in kept
    assert not [name for name, value in PATIENT.items() if value.encode() in kept]


def test_without_a_ledger_a_dicom_file_is_answered_as_any_other(client: TestClient) -> None:
    data = of_array(PIXELS, TrackingUID="2.25.77", StudyDate="20260105")
    assert predicted(client, data, {"content-type": "application/dicom"})["follow_up"] is None


def test_what_waits_for_a_clinician(followed: TestClient) -> None:
    referred = predicted(followed, picture(), lesion="L-1", visit="2026-01-05")
    predicted(followed, picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2))), lesion="L-2")
    first, second = followed.get("/v1/worklist").json()["items"]
    assert (first["lesion"], first["advice"], first["ids"]) == ("L-1", "refer", [referred["id"]])
    assert (second["lesion"], second["advice"], second["malignant_probability"]) == ("L-2", "none", None)
    table = followed.get("/v1/worklist", headers={"accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert [row["lesion"] for row in csv.DictReader(io.StringIO(table.text))] == ["L-1", "L-2"]
    say(followed, referred["id"], opinion="agree")
    assert [item["lesion"] for item in followed.get("/v1/worklist").json()["items"]] == ["L-2"]
    check_problem(followed.get("/v1/worklist", headers={"accept": "text/calendar"}), 406, "text/csv")


def test_recalls_as_json_table_and_calendar(followed: TestClient) -> None:
    id = predicted(followed, picture(), lesion="L-1", visit="2020-01-31")["id"]
    predicted(followed, picture(), lesion="L-2")
    found = followed.get("/v1/recalls").json()["items"]
    assert [item["due"] for item in found if item["lesion"] == "L-1"] == ["2020-04-30", "2020-07-31", "2021-01-31"]
    due = followed.get("/v1/recalls", params={"only_due": True}).json()["items"]
    assert {item["lesion"] for item in due} == {"L-1"}
    table = followed.get("/v1/recalls", headers={"accept": "text/csv"}).text
    assert [row["due"] for row in csv.DictReader(io.StringIO(table))] == [item["due"] for item in found]
    calendar = followed.get("/v1/recalls", headers={"accept": "text/calendar"})
    assert calendar.headers["content-disposition"] == 'attachment; filename="recalls.ics"'
    events = Calendar.from_ical(calendar.content).walk("VEVENT")
    assert [str(event.decoded("DTSTART")) for event in events] == [item["due"] for item in found]
    say(followed, id, recall_months=0)
    assert {item["lesion"] for item in followed.get("/v1/recalls").json()["items"]} == {"L-2"}


def test_deleting_a_lesion_removes_everything_but_the_audit(followed: TestClient, tmp_path: Path) -> None:
    gone = predicted(followed, picture(), lesion="Gone-1")
    kept = predicted(followed, picture(130), lesion="Kept-1")
    say(followed, gone["id"], histology="melanoma")
    assert followed.delete("/v1/lesions/Gone-1").status_code == 204
    for response in (
        followed.get("/v1/lesions/Gone-1"),
        followed.delete("/v1/lesions/Gone-1"),
        followed.get(f"/v1/predictions/{gone['id']}"),
        followed.get(gone["attention"]["lesion"]),
        say(followed, gone["id"], opinion="agree"),
    ):
        check_problem(response, 404)
    assert followed.get(f"/v1/predictions/{kept['id']}").status_code == 200
    assert [item["lesion"] for item in followed.get("/v1/lesions").json()["items"]] == ["Kept-1"]
    found = bytes_in(tmp_path / "l")
    assert b"Kept-1" in found
    assert b"Gone-1" not in found
    assert gone["id"].encode() not in found
    log = [entry for entry in entries_of(tmp_path / "audit.jsonl") if entry["what"] == "lesion-delete"]
    assert [entry["outcome"] for entry in log] == ["requested", "done", "requested", "not-found"]
    assert b"Gone-1" not in (tmp_path / "audit.jsonl").read_bytes()


def test_deleting_a_prediction_removes_it_from_the_ledger(followed: TestClient) -> None:
    first, second = (predicted(followed, picture(red), lesion="L-1")["id"] for red in (120, 130))
    say(followed, first, opinion="agree")
    assert followed.delete(f"/v1/predictions/{first}").status_code == 204
    (visit,) = followed.get("/v1/lesions/L-1").json()["visits"]
    assert [image["id"] for image in visit["images"]] == [second]


def test_two_callers_never_see_each_others_lesions(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    one, other, new = ({"Authorization": f"Bearer {make_key(keys, name)}"} for name in ("one", "other", "one"))
    with start(bundle=bundle.folder, ledger=tmp_path / "ledger.sqlite", keys=keys) as client:
        id = predicted(client, picture(), one, lesion="L-1")["id"]
        predicted(client, picture(130), other, lesion="L-2")
        check_problem(client.get("/v1/lesions/L-1", headers=other), 404)
        check_problem(client.delete("/v1/lesions/L-1", headers=other), 404)
        check_problem(say(client, id, other, opinion="agree"), 404)
        check_problem(client.delete(f"/v1/predictions/{id}", headers=other), 404)
        for path in ("lesions", "worklist", "recalls"):
            seen: dict[str, set[Any]] = {
                name: {item["lesion"] for item in client.get(f"/v1/{path}", headers=headers).json()["items"]}
                for name, headers in (("one", one), ("other", other), ("new", new))
            }
            assert seen == {"one": {"L-1"}, "other": {"L-2"}, "new": {"L-1"}}, path
            check_problem(client.get(f"/v1/{path}"), 401)


def test_without_a_ledger_there_is_a_typed_problem(client: TestClient) -> None:
    id = predicted(client, picture())["id"]
    files = [("image", ("x", picture()))]
    for response in (
        send(client, picture(), lesion="L-1"),
        client.post("/v1/predictions/batch", files=files, data={"lesion": "L-1"}),
        say(client, id, opinion="agree"),
        *(client.get(f"/v1/{path}") for path in ("lesions", "lesions/L-1", "worklist", "recalls")),
        client.delete("/v1/lesions/L-1"),
    ):
        check_problem(response, 409, "CIN_LEDGER", name="no-ledger")


def test_the_next_day_begins_where_the_last_one_ended(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    ledger, audit = tmp_path / "ledger.sqlite", tmp_path / "audit.jsonl"
    with start(bundle=bundle.folder, ledger=ledger, audit=audit) as client:
        id = predicted(client, picture(), lesion="L-1", visit="2026-01-05")["id"]
        before = client.get("/v1/lesions/L-1").json()
    with start(bundle=bundle.folder, ledger=ledger, audit=audit) as client:
        assert client.get("/v1/lesions/L-1").json() == before
        check_problem(client.get(f"/v1/predictions/{id}"), 404)  # it was in memory
        assert say(client, id, histology="melanoma", date="2026-01-20").status_code == 201
        image = client.get("/v1/lesions/L-1").json()["visits"][0]["images"][0]
        assert [said["histology"] for said in image["feedback"]] == ["melanoma"]
    assert checked(ledger).num_feedback == 1
    noted = [entry.get("ledger", "").partition(":")[0] for entry in verified_entries(audit)]
    assert [each for each in noted if each] == ["1", "2"]
