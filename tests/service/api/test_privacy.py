"""Nothing that was sent comes out again: a patient's name is planted wherever one can be."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from pydicom.filereader import dcmread

from service.bundle import Bundle
from tests.service.api.planted import PATIENT, planted_dicom_files, planted_pictures
from tests.service.conftest import Start
from tests.service.ledger.ledgers import bytes_in
from tests.service.served import Served, make_key, served
from tests.service.tiny_bundle import dark_square, picture_bytes

BROKEN_FORM = "multipart/form-data; boundary=b"


def unheard(texts: Iterable[str]) -> bool:
    """Whether the patient's name is in none of them, in whatever letters."""
    return [text for text in texts if PATIENT.lower() in text.lower()] == []


class Watched:
    """A service, and everything that has come out of it."""

    def __init__(self, service: Served, key: str, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.client = service.client(key)
        self.heard: list[str] = []

    def places_of(self, *told: str) -> list[str]:
        """Where any of these texts is to be found, in whatever letters: log, audit log, ledger, names, metrics."""
        places = {
            "log": "".join(self.service.output),
            "audit": (self.folder / "audit.jsonl").read_text(),
            "ledger": bytes_in(self.folder / "ledger").decode("latin-1"),
            "names": str(list(self.folder.rglob("*"))),
            "metrics": self.client.get("/metrics").raise_for_status().text,
        }
        return [place for place, text in places.items() if any(each.lower() in text.lower() for each in told)]

    def send(self, method: str, path: str, **more: object) -> httpx.Response:
        answer = self.client.request(method, path, **more)  # type: ignore[arg-type]
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.heard.append(f"{answer.status_code}\n{head}\n{answer.content.decode('latin-1')}")
        return answer


@pytest.fixture(scope="module")
def watched(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """It says all it can: its log is the one for debugging."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "tmp").mkdir()
    settings: dict[str, Any] = {
        "CIN_KEYS": str(folder / "keys.json"),
        "CIN_AUDIT": str(folder / "audit.jsonl"),
        "CIN_LEDGER": str(folder / "ledger" / "ledger.sqlite"),
        "CIN_LOG_LEVEL": "debug",
        "TMPDIR": str(folder / "tmp"),
    }
    key = make_key(folder / "keys.json", "clinic")
    with served(tiny_bundle.folder, **settings) as service:
        yield Watched(service, key, folder)


@pytest.fixture(scope="module")
def real(data_root: Path) -> Image.Image:
    """A real dermoscopy image, small enough to be sent often."""
    with Image.open(data_root / "samples" / "ISIC_0000016.jpg") as picture:
        return picture.convert("RGB").resize((511, 383))


def test_a_planted_name_comes_out_nowhere(watched: Watched, real: Image.Image) -> None:
    for name, picture in planted_pictures(real).items():
        told = {"X-Patient": PATIENT, "User-Agent": PATIENT, "Idempotency-Key": f"{PATIENT}-{name}"}
        as_file = {"image": (f"{PATIENT}.{name.lower()}", picture, f"image/{PATIENT}")}
        answer = watched.send("POST", "/predict", files=as_file, headers=told)
        assert answer.status_code == 200, name
        kind = {"Content-Type": f"image/{name.lower()}; name={PATIENT}", "Cookie": f"patient={PATIENT}"}
        assert watched.send("POST", f"/predict?{PATIENT}={PATIENT}", content=picture, headers=kind).status_code == 400
        links = answer.json()["attention"].values()
        for link in links:
            assert watched.send("GET", f"{link}?patient={PATIENT}").status_code == 400
            assert watched.send("GET", link).status_code == 200
        watched.send("GET", f"/predictions/{answer.json()['id']}?patient={PATIENT}")
        watched.send("GET", f"/predictions/{answer.json()['id']}?subject=Patient/{PATIENT}")
        watched.send("POST", "/predict", files={"image": (f"{PATIENT}.jpg", picture[: len(picture) // 3])})
    whole = planted_pictures(real)["JPEG"]
    answers = [
        watched.send("POST", "/predict/batch", files=[("image", (PATIENT, whole)), ("image", (PATIENT, b"?"))]),
        watched.send("POST", "/predict", files={PATIENT: (PATIENT, whole)}),
        watched.send("POST", "/predict", files={"image": (None, PATIENT)}),
        watched.send("POST", "/predict", content=PATIENT.encode(), headers={"Content-Type": PATIENT}),
        watched.send("POST", "/predict", content=f"--{PATIENT}".encode(), headers={"Content-Type": BROKEN_FORM}),
        watched.send("POST", f"/predict?operating_point={PATIENT}", files={"image": whole}),
        watched.send("GET", f"/predictions/{PATIENT}"),
        watched.send("DELETE", f"/predictions/{PATIENT}"),
        watched.send("GET", f"/attention/{PATIENT}?map={PATIENT}&x={PATIENT}"),
        watched.send("GET", f"/{PATIENT}/{PATIENT}"),
        watched.send("GET", f"/docs/{PATIENT}"),
        watched.send("GET", "/model", headers={"Authorization": f"Bearer {PATIENT}"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 415, 400, 400, 404, 404, 400, 404, 400, 401]
    watched.send(PATIENT.upper(), "/predict")
    watched.send("GET", "/metrics")
    watched.send("GET", "/model")
    watched.send("GET", "/readyz")
    # A request that is none, and one that is given up.
    host, port = watched.service.url.removeprefix("http://").split(":")
    for text in (
        f"{PATIENT}\r\n\r\n",
        f"POST /predict HTTP/1.1\r\nHost: {PATIENT}\r\nContent-Length: 99\r\n\r\n{PATIENT}",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(text.encode())
            connection.settimeout(0.3)
            try:
                watched.heard.append(connection.recv(4096).decode("latin-1"))
            except TimeoutError:
                continue
    said = "".join(watched.service.output)
    assert "DEBUG service" in said
    assert "multipart" not in said, "the parser of forms quotes their bytes one by one"
    assert unheard(watched.heard)
    assert watched.places_of(PATIENT) == []


def test_the_patient_of_a_fhir_answer_is_in_that_answer_alone(watched: Watched, real: Image.Image) -> None:
    """The reference may hold a name: it comes back in the answer that it was sent for, and in no refusal."""
    accept = {"Accept": "application/fhir+json"}
    form, subject = {"image": planted_pictures(real)["JPEG"]}, f"Patient/{PATIENT}"
    sent = watched.client.post(f"/v1/predictions?subject={subject}", files=form, headers=accept)  # not to be searched
    assert sent.text.count(subject) == 2
    refused = [
        watched.send("POST", f"/v1/predictions?subject={subject}", files=form),
        watched.send("POST", f"/v1/predictions?subject={PATIENT}", files=form, headers=accept),
        watched.send("GET", f"{sent.headers['location']}?subject=Patient/{PATIENT}%0a", headers=accept),
        watched.send("GET", sent.headers["location"], headers={"Accept": f"text/{PATIENT}"}),
        watched.send("GET", sent.headers["location"], headers={"Accept": f"*/*;{PATIENT}={PATIENT}"}),
    ]
    assert [answer.status_code for answer in refused] == [400, 400, 400, 406, 406]
    others = [watched.send("GET", sent.headers["location"], headers=form) for form in (accept, {})]
    assert unheard([answer.text for answer in (*refused, *others)])
    assert watched.places_of(PATIENT) == []


@pytest.mark.filterwarnings("ignore")  # of pydicom, about such values
def test_a_patient_of_a_dicom_file_comes_out_nowhere(watched: Watched, real: Image.Image) -> None:
    statuses = {}
    for name, data in planted_dicom_files(real).items():
        assert PATIENT.encode() in data, name
        answer = watched.send("POST", "/predict", content=data, headers={"Content-Type": "application/dicom"})
        statuses[name] = answer.status_code
        watched.send("POST", "/predict/batch", files=[("image", (f"{PATIENT}.dcm", data))])
    assert statuses == {
        **{"JPEG": 200, "pixels": 200, "colour space": 200},
        **{"cut off": 422, "cut off at the name": 422},
        **{"syntax": 415, "kind": 415, "colours": 415, "frames": 415, "report": 415},
    }
    assert unheard(watched.heard)
    assert watched.places_of(PATIENT) == []


def test_the_test_would_notice(watched: Watched, real: Image.Image) -> None:
    """The places that are planted are those that Pillow reads, and says at its own debugging level."""
    for picture in planted_pictures(real).values():
        with Image.open(io.BytesIO(picture)) as opened:
            opened.load()
            kept = str(opened.info) + str(dict(opened.getexif())) + str(getattr(opened, "tag_v2", ""))
        assert PATIENT in kept
    assert len(watched.heard) > 40


def test_a_fault_is_logged_without_the_words_of_its_error(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError(f"no number: {PATIENT}")

    monkeypatch.setattr("service.prediction.predictor.describe", fail)
    with start() as client, caplog.at_level("DEBUG"):
        answer = client.post("/predict", files={"image": picture_bytes(dark_square())})
    assert answer.status_code == 500
    assert "ValueError" in caplog.text
    assert "predictor.py" in caplog.text, "it says where"
    assert PATIENT not in caplog.text + answer.text


@pytest.mark.filterwarnings("ignore")  # of pydicom, about such values
def test_the_patient_of_dicom_objects_is_in_those_alone(watched: Watched, real: Image.Image) -> None:
    """They are the patient's own: what else comes out has nothing of it, also where they cannot be made."""
    kind, query = {"Content-Type": "application/dicom"}, "?objects=sr,seg,sc,pr"
    accept = kind | {"Accept": 'multipart/related; type="application/dicom"'}
    others = []
    for data in planted_dicom_files(real).values():
        answer = watched.client.post(f"/predict{query}", content=data, headers=accept)  # not to be searched
        if answer.status_code == 200:
            assert answer.content.count(PATIENT.encode()) >= 4
            others.append(watched.client.get(answer.headers["location"]))
        else:
            others.append(answer)
    long = planted_dicom_files(real)["JPEG"]
    for name in ("StudyInstanceUID", "SeriesInstanceUID"):
        unfit = changed(long, name)
        others += [watched.client.post("/predict", content=unfit, headers=accept)]
    assert [answer.status_code for answer in others].count(200) == 3
    others.append(watched.client.get("/model"))
    assert unheard(answer.text + str(answer.headers) for answer in others)
    assert watched.places_of(PATIENT) == []


@pytest.mark.filterwarnings("ignore")  # of pydicom, about such values
def test_the_patient_of_a_dicom_file_is_in_its_fhir_answer_alone(watched: Watched, real: Image.Image) -> None:
    kind = {"Content-Type": "application/dicom", "Accept": "application/fhir+json"}
    sent = watched.client.post("/v1/predictions", content=planted_dicom_files(real)["JPEG"], headers=kind)
    assert sent.text.count(PATIENT) >= 3
    others = [watched.client.get(sent.headers["location"], headers=form) for form in ({}, kind)]
    assert [answer.status_code for answer in others] == [200, 200]
    assert unheard(answer.text + str(answer.headers) for answer in others)
    assert watched.places_of(PATIENT) == []


@pytest.mark.filterwarnings("ignore")  # of pydicom, about such values
def test_what_clinicians_say_over_time_is_in_the_ledger_alone(watched: Watched, real: Image.Image) -> None:
    """A label may hold a name after all: then it is kept as one that may be deleted, and nowhere else."""
    label, form = "Ford-Prefect-42", {"image": planted_dicom_files(real)["JPEG"]}
    id = watched.client.post(f"/predict?lesion={label}&visit=2026-01-31", files=form).json()["id"]
    heard = []
    for path, body in (
        (f"/v1/predictions/{id}/feedback", {"opinion": PATIENT}),
        (f"/v1/predictions/{id}/feedback", {"diagnosis": PATIENT, "histology": PATIENT}),
        (f"/v1/predictions/{id}/feedback", {"opinion": "agree", PATIENT: PATIENT}),
        (f"/v1/predictions/{id}/feedback", {"opinion": "agree", "date": PATIENT}),
        (f"/v1/predictions/{PATIENT}/feedback", {"opinion": "agree"}),
    ):
        heard.append(watched.client.post(path, json=body))
    for query in (f"lesion={PATIENT}%20", f"lesion=L-1&visit={PATIENT}", f"visit={PATIENT}"):
        heard.append(watched.client.post(f"/predict?{query}", files=form))
    fields = {"lesion": f"{PATIENT}!", "visit": PATIENT}
    heard.append(watched.client.post("/predict/batch", files=form, data=fields))
    heard.append(watched.client.get(f"/v1/lesions/{PATIENT}"))
    assert [answer.status_code for answer in heard] == [400, 400, 400, 400, 404, 400, 400, 400, 400, 404]
    said = {"opinion": "disagree", "diagnosis": "basal_cell_carcinoma", "date": "2026-01-31", "recall_months": 3}
    assert watched.client.post(f"/v1/predictions/{id}/feedback", json=said).status_code == 201
    for path in ("lesions", f"lesions/{label}", "worklist", "recalls"):
        assert watched.client.get(f"/v1/{path}").status_code == 200
    assert unheard(answer.text + str(answer.headers) for answer in heard)
    assert watched.places_of(PATIENT) == []
    assert watched.places_of(label) == ["ledger"]
    assert watched.places_of("2026-01-31") == ["ledger"]
    assert watched.client.delete(f"/v1/lesions/{label}").status_code == 204
    assert watched.places_of(label) == []


def changed(data: bytes, name: str) -> bytes:
    """A DICOM file with the patient's name in one more element."""
    stored = dcmread(io.BytesIO(data))
    stored[name].value = PATIENT
    file = io.BytesIO()
    stored.save_as(file)
    return file.getvalue()
