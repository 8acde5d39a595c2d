"""Predictions as DICOM objects: asked for with ``Accept``, of the image's study, both or neither with the answer."""

from __future__ import annotations

import email
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom.dataset import Dataset

from service.access.keys import create_key
from service.bundle import Bundle
from service.dicom import objects as dicom_objects
from service.dicom.identity import KINDS, instance_uids
from tests.service.conftest import Start, service_of, store_of
from tests.service.dicom.results import INSTANCE, items, photograph, read
from tests.service.imaging.dicoms import PATIENT, of_jpeg
from tests.service.tiny_bundle import CLASSES, picture_bytes
from tests.service.wire import FORM, check_problem

DICOM = {"Accept": "application/dicom"}
PARTS = {"Accept": 'multipart/related; type="application/dicom"'}
SOURCE = photograph()
ALL = ",".join(KINDS)


def post(
    client: TestClient,
    data: bytes = SOURCE,
    path: str = "/v1/predictions",
    accept: dict[str, str] = DICOM,
    **query: Any,
) -> httpx.Response:
    headers = {"Content-Type": "application/dicom", **accept}
    response: httpx.Response = client.post(path, content=data, headers=headers, params=query)
    return response


def parts(response: httpx.Response) -> list[bytes]:
    """The parts of a body, as a MIME parser has them."""
    assert response.is_success, response.text
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.content)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    found = message.get_payload()
    assert isinstance(found, list)
    kinds = {part.get_content_type() for part in found if isinstance(part, Message)}
    assert kinds == {"application/dicom"}
    # That parser takes text: lines of a file are not its lines.
    boundary = f"--{message.get_boundary()}".encode()
    bodies = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in response.content.split(boundary)[1:-1]]
    assert len(bodies) == len(found)
    return bodies


def figures(report: Dataset) -> dict[str, float]:
    return {
        name: float(item.MeasuredValueSequence[0].NumericValue)
        for name, item in items(report)
        if item.ValueType == "NUM"
    }


@pytest.mark.parametrize(("path", "status"), [("/v1/predictions", 201), ("/predict", 200)])
def test_the_report_says_what_the_answer_says(client: TestClient, path: str, status: int) -> None:
    sent = post(client, path=path)
    assert (sent.status_code, sent.headers["content-type"], sent.headers["vary"]) == (
        status,
        "application/dicom",
        "Accept",
    )
    report, answer = read(sent.content), client.get(sent.headers["location"]).json()
    assert {name: report[name].value for name in PATIENT} == PATIENT
    decision = answer["decision"]
    assert figures(report)["Melanoma risk"] == pytest.approx(100 * decision["malignant_probability"])
    assert figures(report)["Threshold Value"] == pytest.approx(100 * decision["threshold"])
    uids = instance_uids(["sr"], INSTANCE, answer["model"]["sha256"], operating_point=decision["operating_point"])
    assert report.SOPInstanceUID == uids["sr"]


def test_a_form_may_have_the_file(client: TestClient) -> None:
    sent = client.post("/predict", files={"image": SOURCE}, headers=DICOM)
    assert read(sent.content).Modality == "SR"


def test_several_objects_are_parts_in_a_fixed_order(client: TestClient) -> None:
    sent = post(client, accept=PARTS, objects="pr,sc,sr,seg")
    assert [read(part).Modality for part in parts(sent)] == ["SR", "SEG", "OT", "PR"]
    assert [read(part).Modality for part in parts(post(client, accept=PARTS))] == ["SR"]
    assert read(post(client, objects="seg").content).Modality == "SEG"


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        "multipart/related;type=application/dicom, application/json;q=0.5",
        "multipart/related",
    ],
)
def test_clients_of_dicomweb_ask_in_several_ways(client: TestClient, accept: str) -> None:
    assert len(parts(post(client, accept={"Accept": accept}, objects="sr,sc"))) == 2


def test_a_view_is_what_the_report_says(client: TestClient) -> None:
    seen = {}
    for name in ("balanced", "high-sensitivity"):
        report = read(post(client, operating_point=name, prevalence=0.05).content)
        assert figures(report)["Share of malignant lesions for which the figures hold"] == 5
        seen[report.SOPInstanceUID] = figures(report)["Threshold Value"]
    plain = read(post(client).content)
    seen[plain.SOPInstanceUID] = figures(plain)["Threshold Value"]
    assert len(seen) == len(set(seen.values())) == 3


def test_without_advice_no_number_comes_out(start: Start, examining_bundle: Bundle) -> None:
    dark = of_jpeg(picture_bytes(Image.new("RGB", (256, 256), (9, 2, 2)), "JPEG"), SeriesInstanceUID="2.25.5")
    with start(bundle=examining_bundle.folder) as client:
        sent = post(client, dark, accept=PARTS, objects=ALL)
        assert client.get(sent.headers["location"]).json()["decision"]["status"] == "abstained"
        report, *others = map(read, parts(sent))
        assert figures(report) == {}
        for made in (report, *others):
            text = str([element for element in made if element.keyword != "PixelData"])
            assert not any(name in text or name.replace("_", " ").title() in text for name in CLASSES)
        check_problem(post(client, dark, include="raw"), 400, "research")


@pytest.mark.parametrize("data", [FORM["image"][1], b"%PDF-1.7 a letter"])
def test_another_picture_belongs_to_no_study(client: TestClient, data: bytes) -> None:
    check_problem(post(client, data), 406, "send the DICOM file itself, or ask for application/json")
    assert store_of(client).purge().kept == 0


def test_a_kept_prediction_has_no_study_either(client: TestClient) -> None:
    location = post(client).headers["location"]
    for accept in (DICOM, PARTS):
        check_problem(client.get(location, headers=accept), 406, "send it to /v1/predictions")
    assert client.get(location, headers={"Accept": "application/dicom, application/json;q=0.1"}).json()["id"]
    check_problem(client.get(location, params={"objects": "sr"}), 400, "unknown query parameter")
    check_problem(client.post("/predict/batch", files={"image": SOURCE}, headers=DICOM), 406)


@pytest.mark.parametrize(
    ("accept", "query", "status", "words"),
    [
        (DICOM, {"objects": "sr,sc"}, 400, "multipart/related"),
        (PARTS, {"objects": "rt"}, 400, "objects"),
        (PARTS, {"objects": ""}, 400, "objects"),
        (PARTS, {"objects": "sr," * 200}, 400, "objects"),
        (PARTS, {"subject": "Patient/1"}, 400, "subject"),
        (PARTS, {"include": "raw"}, 400, "research"),
        ({}, {"objects": "sr"}, 400, "objects: only with Accept: application/dicom or multipart/related"),
        ({"Accept": "multipart/related; type=image/jpeg"}, {}, 406, "application/dicom"),
        ({"Accept": "application/dicom+json"}, {}, 406, "application/dicom"),
    ],
)
def test_what_does_not_go_together_is_refused_before_an_image_is_judged(
    client: TestClient, accept: dict[str, str], query: dict[str, Any], status: int, words: str
) -> None:
    check_problem(post(client, accept=accept, **query), status, words)
    assert store_of(client).purge().kept == 0


def test_a_file_without_a_study_is_refused_before_it_is_judged(client: TestClient) -> None:
    without = photograph(without=("StudyInstanceUID",))
    check_problem(post(client, without), 422, "lacks StudyInstanceUID")
    assert store_of(client).purge().kept == 0
    assert post(client, without, accept={}).status_code == 201


def test_what_cannot_be_made_takes_the_prediction_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> list[Dataset]:
        raise ValueError(f"cannot write {PATIENT['PatientName']}")

    store = store_of(client)
    delete = store.delete

    def delete_slowly(id: str, owner: str) -> bool:
        time.sleep(0.2)
        return delete(id, owner)

    monkeypatch.setattr(dicom_objects, "build", fail)
    monkeypatch.setattr(store, "delete", delete_slowly)
    check_problem(post(client), 500, "JSON")
    assert store.purge().kept == 0, "the client is answered when nothing is kept"
    assert "ValueError" in caplog.text
    assert PATIENT["PatientName"] not in caplog.text
    assert service_of(client).admission.slots_taken == 0


@pytest.fixture
def keyed(start: Start, tmp_path: Path) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A service, and the headers of a client."""
    key = create_key(tmp_path / "keys.json", "ward", announce=lambda key: None)
    with start(keys=tmp_path / "keys.json", caller_rate=1000) as client:
        yield client, {"Authorization": f"Bearer {key}"}


def test_a_repeated_request_gets_the_same_bytes(keyed: tuple[TestClient, dict[str, str]]) -> None:
    client, headers = keyed
    once = headers | {"Idempotency-Key": "0c3151bd"}
    first, again = (parts(post(client, accept=PARTS | once, objects=ALL)) for _ in range(2))
    assert first == again
    assert store_of(client).purge().kept == 1
    unkeyed = read(post(client, accept=DICOM | headers).content)
    assert unkeyed.SOPInstanceUID != read(first[0]).SOPInstanceUID  # which refers to the capture
    assert read(post(client, accept=DICOM | headers).content).SOPInstanceUID == unkeyed.SOPInstanceUID


def test_pictures_of_another_client_are_not_delayed_by_objects(client: TestClient) -> None:
    """Making objects takes a slot, as drawing an overlay does."""
    admission = service_of(client).admission
    with admission.enter("others") as entry:
        entry.take_slots(admission.slots)
        check_problem(post(client), 429, name="queue-full")


@pytest.mark.integration
def test_dicom_is_loaded_by_those_who_ask_for_it() -> None:
    script = "import sys, service.app; print([m for m in sys.modules if m.startswith(('pydicom', 'highdicom'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_its_time_is_measured(client: TestClient) -> None:
    assert post(client).is_success
    assert 'cin_stage_duration_seconds_count{stage="dicom"} 1.0' in client.get("/metrics").text


def test_the_bodies_are_files(client: TestClient) -> None:
    for body in parts(post(client, accept=PARTS, objects=ALL)):
        assert body[128:132] == b"DICM"
        assert read(body).file_meta.TransferSyntaxUID
