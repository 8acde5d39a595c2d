"""Predictions as FHIR: asked for with ``Accept``, at any view, for a patient, and never with what must not be in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.access.keys import create_key
from service.bundle import Bundle, Interval, NotSure
from service.prediction.decision import REASONS
from tests.service.conftest import Start, service_of, store_of
from tests.service.fhir.predictions import component_of, numbers, resource_of
from tests.service.imaging.dicoms import PATIENT, of_jpeg
from tests.service.tiny_bundle import CLASSES, dark_square, picture_bytes
from tests.service.wire import FORM, check_problem

FHIR = {"Accept": "application/fhir+json"}
ABSTAINED = picture_bytes(Image.new("RGB", (256, 256), (9, 2, 2)))  # too dark, and near the threshold
RISK = ("urn:cin:observation", "risk")
LIMIT = ("http://dicom.nema.org/resources/ontology/DCM", "122411")
LONG = "x" * 1000


def post(
    client: TestClient, picture: bytes | None = None, path: str = "/v1/predictions", **query: Any
) -> httpx.Response:
    form = FORM if picture is None else {"image": picture}
    response: httpx.Response = client.post(path, files=form, headers=FHIR, params=query)
    return response


def figure(bundle: dict[str, Any], code: tuple[str, str]) -> float:
    value: float = component_of(bundle, *code)["valueQuantity"]["value"]
    return value


@pytest.mark.parametrize(("path", "status"), [("/v1/predictions", 201), ("/predict", 200)])
def test_sent_and_read_again_it_is_the_same_transaction(client: TestClient, path: str, status: int) -> None:
    sent = post(client, path=path, subject="Patient/123")
    assert (sent.status_code, sent.headers["content-type"]) == (status, "application/fhir+json")
    assert sent.headers["vary"] == "Accept"
    again = client.get(sent.headers["location"], headers=FHIR, params={"subject": "Patient/123"})
    assert (again.status_code, again.content) == (200, sent.content)
    old = client.get(sent.headers["location"].removeprefix("/v1"), headers=FHIR)
    assert "subject" not in resource_of(old.json(), "Observation")
    answer = client.get(sent.headers["location"])
    assert (answer.headers["content-type"], answer.headers["vary"]) == ("application/json", "Accept")
    decision = answer.json()["decision"]
    assert figure(sent.json(), RISK) == pytest.approx(100 * decision["malignant_probability"])
    assert figure(sent.json(), LIMIT) == pytest.approx(100 * decision["threshold"])
    assert resource_of(sent.json(), "Observation")["identifier"][0]["value"] == answer.json()["id"]


def test_a_view_is_what_the_transaction_says(client: TestClient) -> None:
    picture = picture_bytes(Image.new("RGB", (300, 300), (60, 110, 110)))
    sent = post(client, picture)
    advice = {}
    for name in ("balanced", "high-sensitivity"):
        query = {"operating_point": name, "prevalence": 0.05}
        seen, answer = (client.get(sent.headers["location"], headers=h, params=query).json() for h in (FHIR, {}))
        assert figure(seen, RISK) == pytest.approx(100 * answer["decision"]["malignant_probability"])
        assert figure(seen, LIMIT) == pytest.approx(100 * answer["decision"]["threshold"])
        assert figure(seen, ("urn:cin:observation", "prevalence")) == 5
        advice[name] = resource_of(seen, "Observation")["valueCodeableConcept"]["coding"][0]["code"]
        assert f"Operating point {name}" in resource_of(seen, "DiagnosticReport")["conclusion"]
    assert advice == {"balanced": "no-referral", "high-sensitivity": "refer"}
    assert post(client, picture, operating_point="high-sensitivity", prevalence=0.05).status_code == 201


def test_an_unsure_answer_says_so_in_words(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = service_of(client).scheduler.engine
    rule = NotSure(least_probability=0.99, chosen_on="nothing", cost=Interval(value=0.0, low=0.0, high=0.1))
    careful = engine.bundle.manifest.model_copy(update={"not_sure": rule})
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"manifest": careful}))
    bundle = post(client, picture_bytes(dark_square((0, 90, 150)))).json()
    assert figure(bundle, RISK) < figure(bundle, LIMIT)
    conclusion = resource_of(bundle, "DiagnosticReport")["conclusion"]
    assert conclusion.startswith("Referral advised")
    assert REASONS["not_sure"] in conclusion


def test_without_advice_no_number_comes_out(start: Start, examining_bundle: Bundle) -> None:
    with start(bundle=examining_bundle.folder) as client:
        sent = post(client, ABSTAINED)
        raw = client.get(sent.headers["location"], params={"include": "raw"}).json()
        assert raw["decision"]["malignant_probability"] is not None
        views = [{}, {"operating_point": "high-sensitivity"}, {"prevalence": 0.02}, {"subject": "Patient/a"}]
        seen = [client.get(sent.headers["location"], headers=FHIR, params=query) for query in views]
        for response in (sent, *seen):
            assert numbers(response.json()) == []
            assert "dataAbsentReason" in resource_of(response.json(), "Observation")
            assert "near_threshold" not in response.text
            assert not any(name in response.text for name in CLASSES)
        refused = client.get(sent.headers["location"], headers=FHIR, params={"include": "raw"})
        check_problem(refused, 400, "research")
        kept = store_of(client).purge().kept
        check_problem(post(client, ABSTAINED, include="raw"), 400, "research")
        assert store_of(client).purge().kept == kept


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/fhir+xml",
        "application/fhir+json;fhirVersion=5.0",
        "application/json;q=0, */*;q=0",
        "?",
    ],
)
def test_what_is_not_offered_is_refused_before_an_image_is_judged(client: TestClient, accept: str) -> None:
    refused = client.post("/v1/predictions", files=FORM, headers={"Accept": accept})
    check_problem(refused, 406, "application/fhir+json")
    assert refused.headers["vary"] == "Accept"
    assert store_of(client).purge().kept == 0
    id = client.post("/predict", files=FORM).json()["id"]
    check_problem(client.get(f"/v1/predictions/{id}", headers={"Accept": accept}), 406)


def test_an_endless_accept_header_is_refused(client: TestClient) -> None:
    check_problem(client.post("/predict", files=FORM, headers={"Accept": "a/b;c=d," * 200}), 400, "Accept")


def test_several_accept_headers_are_one(client: TestClient) -> None:
    headers = [("Accept", "application/json;q=0.3"), ("Accept", "application/fhir+json;q=0.4")]
    sent = client.post("/predict", files=FORM, headers=headers)
    assert sent.headers["content-type"] == "application/fhir+json"


@pytest.mark.parametrize("path", ["/v1/predictions/batch", "/predict/batch"])
def test_a_batch_is_json(client: TestClient, path: str) -> None:
    check_problem(client.post(path, files=FORM, headers=FHIR), 406, "a batch is only sent as application/json")
    assert store_of(client).purge().kept == 0
    assert client.post(path, files=FORM, headers={"Accept": "application/fhir+json, */*;q=0.1"}).status_code == 200


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "123",
        "Patient/",
        "patient/123",
        "Group/123",
        "Practitioner/1",
        "Patient/12 3",
        "Patient/1\n",
        "Patient/1\r\nX: y",
        "Patient/1\0",
        "Patient/\u202e1",
        "Patient/Zo\u00eb",
        "Patient/../1",
        "Patient/..",
        "Patient/1/_history/2",
        "Patient/1?x=y",
        "https://elsewhere.example/Patient/1",
        "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
        f"Patient/{LONG}",
        "Patient/" + "1" * 65,
    ],
)
def test_a_subject_that_is_no_patients_reference_is_refused(client: TestClient, subject: str) -> None:
    refused = post(client, subject=subject)
    check_problem(refused, 400, "subject")
    assert subject not in refused.json()["detail"] or subject in ("", "Patient/")
    assert store_of(client).purge().kept == 0


def test_a_subject_belongs_to_fhir(client: TestClient) -> None:
    check_problem(client.post("/predict", files=FORM, params={"subject": "Patient/1"}), 400, "subject")
    check_problem(
        client.post("/predict", files=FORM, params={"subject": ["Patient/1", "Patient/2"]}, headers=FHIR), 400
    )
    check_problem(client.post("/v1/predictions/batch", files=FORM, params={"subject": "Patient/1"}), 400)
    assert post(client, subject="Patient/" + "A-b.9" * 12).status_code == 201


def test_problems_stay_problems(client: TestClient) -> None:
    check_problem(post(client, b"%PDF-1.7 a letter"), 415)
    check_problem(client.get(f"/v1/predictions/{'0' * 32}", headers=FHIR), 404)
    sent = post(client)
    assert client.delete(sent.headers["location"]).status_code == 204
    check_problem(client.get(sent.headers["location"], headers=FHIR), 404)


def test_the_codes_of_another_model_are_not_given(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = post(client)
    engine = service_of(client).scheduler.engine
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"sha256": "0" * 64}))
    check_problem(client.get(sent.headers["location"], headers=FHIR), 409)
    assert client.get(sent.headers["location"]).status_code == 200


@pytest.fixture
def keyed(start: Start, tmp_path: Path) -> Iterator[tuple[TestClient, list[dict[str, str]]]]:
    """A service, and the headers of two clients that ask for FHIR."""
    keys = [create_key(tmp_path / "keys.json", name, announce=lambda key: None) for name in ("ward", "clinic")]
    with start(keys=tmp_path / "keys.json", caller_rate=1000) as client:
        yield client, [FHIR | {"Authorization": f"Bearer {key}"} for key in keys]


def test_only_the_caller_that_sent_an_image_gets_it(keyed: tuple[TestClient, list[dict[str, str]]]) -> None:
    client, (ward, clinic) = keyed
    sent = client.post("/v1/predictions", files=FORM, headers=ward)
    assert client.get(sent.headers["location"], headers=ward).content == sent.content
    check_problem(client.get(sent.headers["location"], headers=clinic), 404)
    # Without a key it is not said which media types there are.
    check_problem(client.get(sent.headers["location"], headers={"Accept": "text/html"}), 401)


def test_a_repeated_request_may_ask_for_the_other_form(keyed: tuple[TestClient, list[dict[str, str]]]) -> None:
    client, (ward, _) = keyed
    once = ward | {"Idempotency-Key": "0c3151bd"}
    first, second = (client.post("/v1/predictions", files=FORM, headers=once) for _ in range(2))
    assert (second.status_code, second.content) == (201, first.content)
    answer = client.post("/v1/predictions", files=FORM, headers=once | {"Accept": "application/json"}).json()
    assert resource_of(first.json(), "Observation")["identifier"][0]["value"] == answer["id"]


def study_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    return resource_of(answer.json(), "ImagingStudy")


def test_the_study_of_a_dicom_file_is_in_the_answer_that_it_is_sent_for(
    keyed: tuple[TestClient, list[dict[str, str]]],
) -> None:
    client, (ward, _) = keyed
    file = of_jpeg(picture_bytes(dark_square(), "JPEG"), Modality="DMS", SeriesInstanceUID="2.25.7")
    form, once = {"image": file}, ward | {"Idempotency-Key": "0c3151be"}
    sent, again = (client.post("/v1/predictions", files=form, headers=once) for _ in range(2))
    study = study_of(sent)
    assert again.content == sent.content
    assert study["identifier"][0]["value"] == f"urn:oid:{PATIENT['StudyInstanceUID']}"
    assert study["series"][0]["uid"] == "2.25.7"
    assert study["series"][0]["modality"]["code"] == "DMS"
    assert study["series"][0]["instance"][0]["uid"] == "2.25.4711"
    assert study["subject"]["identifier"]["value"] == PATIENT["PatientID"]
    for name in ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyDescription"):
        assert PATIENT[name] not in sent.text
    named = client.post("/v1/predictions?subject=Patient/1", files=form, headers=once)
    assert study_of(named)["subject"] == {"reference": "Patient/1"}
    assert PATIENT["PatientID"] not in named.text
    kept = client.get(sent.headers["location"], headers=ward)
    assert not [value for value in (*PATIENT.values(), "2.25.7", "2.25.4711") if value in kept.text]


@pytest.mark.parametrize(
    "elements",
    [
        {"without": ("StudyInstanceUID",)},
        {"SeriesInstanceUID": "none"},
        {"SOPInstanceUID": "2.25.1\\2.25.2"},
        {"PatientID": "P" * 2000},
    ],
)
@pytest.mark.filterwarnings("ignore")  # of pydicom, about such values
def test_a_file_without_usable_identifiers_is_referred_to_by_its_digest(
    client: TestClient, elements: dict[str, Any]
) -> None:
    file = of_jpeg(picture_bytes(dark_square(), "JPEG"), **{"SeriesInstanceUID": "2.25.7", **elements})
    (source,) = resource_of(post(client, file).json(), "Observation")["derivedFrom"]
    assert source["identifier"]["system"] == "urn:cin:image-sha256"


@pytest.mark.parametrize("modality", ["", "dms", "DMS\\XC", "D" * 17])
@pytest.mark.filterwarnings("ignore")
def test_a_modality_that_is_none_is_not_repeated(client: TestClient, modality: str) -> None:
    file = of_jpeg(picture_bytes(dark_square(), "JPEG"), SeriesInstanceUID="2.25.7", Modality=modality)
    sent = post(client, file).json()
    assert "ImagingStudy" not in {entry["resource"]["resourceType"] for entry in sent["entry"]}
    assert resource_of(sent, "Observation")["derivedFrom"][0]["type"] == "ImagingStudy"
