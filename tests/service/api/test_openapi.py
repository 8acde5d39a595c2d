"""The OpenAPI schema: whole, true, and without an address that the service would fetch from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle import Bundle
from service.prediction.schemas import Prediction
from service.problems import PROBLEM_TYPES
from tests.service.conftest import Start
from tests.service.wire import PICTURE

HEADERS = {"content-type": "image/png"}


def test_docs_show_a_schema_whose_example_is_valid(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    (example,) = schema["components"]["schemas"]["Prediction"]["examples"]
    prediction = Prediction.model_validate(example)
    assert prediction.model_dump(mode="json") == example
    assert prediction.probabilities is not None
    assert prediction.branches is not None
    for values in (prediction.probabilities, *(b.probabilities for b in prediction.branches)):
        assert sum(values.values()) == pytest.approx(1.0)
    assert prediction.diagnosis == max(prediction.probabilities, key=prediction.probabilities.__getitem__)


def test_a_real_answer_has_exactly_the_documented_fields(
    start: Start, examining_bundle: Bundle, tmp_path: Path
) -> None:
    with start(bundle=examining_bundle.folder, ledger=tmp_path / "ledger.sqlite") as client:
        (example,) = client.get("/openapi.json").json()["components"]["schemas"]["Prediction"]["examples"]
        answer = client.post("/predict?lesion=L-0012", content=PICTURE, headers=HEADERS).json()

    def shape(value: Any) -> Any:
        return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else None

    assert shape(answer) == shape(example)


def test_a_fhir_answer_has_the_documented_parts(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    described = schema["components"]["schemas"]["FhirTransaction"]
    (example,) = described["examples"]
    for path, method, status in (
        ("/predict", "post", "200"),
        ("/v1/predictions", "post", "201"),
        ("/v1/predictions/{id}", "get", "200"),
    ):
        response = schema["paths"][path][method]["responses"][status]
        of_new = ["application/dicom", "multipart/related"] if method == "post" else []
        assert list(response["content"]) == ["application/json", "application/fhir+json", *of_new]
        assert "Vary" in response["headers"]
        assert "subject" in [parameter["name"] for parameter in schema["paths"][path][method]["parameters"]]
    answer = client.post("/predict", content=PICTURE, headers=HEADERS | {"accept": "application/fhir+json"}).json()
    assert answer.keys() == example.keys() == described["properties"].keys() == set(described["required"])
    kinds, expected = ([e["resource"]["resourceType"] for e in of["entry"]] for of in (answer, example))
    assert ["ImagingStudy", *kinds] == expected  # which only DICOM files have


def test_every_operation_documents_its_errors_as_problems(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    known = {str(problem.status) for problem in PROBLEM_TYPES}
    for path, operations in paths.items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status in known | {"default"} and path != "/readyz":
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
    predict = paths["/predict"]["post"]
    assert {"200", "400", "413", "415", "422", "429", "500", "503", "504"} <= set(predict["responses"])
    assert set(predict["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/octet-stream",
        "application/dicom",
    }


def test_every_field_is_described(client: TestClient) -> None:
    components = client.get("/openapi.json").json()["components"]["schemas"]
    fields = {
        f"{name}.{field}": told for name, c in components.items() for field, told in c.get("properties", {}).items()
    }
    assert {"Prediction.decision", "Manifest.operating_points", "Interval.low"} <= fields.keys()
    assert [name for name, told in fields.items() if "description" not in told] == []
    assert [name for name, component in components.items() if "description" not in component] == []


def test_headers_of_errors_are_documented_where_they_are_sent(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/v1/predictions"]["post"]["responses"]
    sent = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
    assert {status: list(responses[status]["headers"]) for status in sent} == {k: [v] for k, v in sent.items()}


def test_no_request_names_an_address_to_fetch_from(client: TestClient) -> None:
    """Nothing that a client sends is an address, but where it is announced that a job is done: at origins of a list.

    A job's query names a server of another list.
    """
    schema = client.get("/openapi.json").json()
    asked = [
        *(
            parameter["name"]
            for path in schema["paths"].values()
            for op in path.values()
            for parameter in op.get("parameters", [])
        ),
        *(
            name
            for path in schema["paths"].values()
            for op in path.values()
            for content in op.get("requestBody", {}).get("content", {}).values()
            for name in content["schema"].get("properties", {})
        ),
        *(
            name
            for kind in ("FeedbackRequest", "JobRequest", "DicomwebQuery", "Matching")
            for name in schema["components"]["schemas"][kind]["properties"]
        ),
    ]
    assert {"id", "image", "operating_point", "opinion", "server", "StudyDate"} <= set(asked)
    named = {name for name in asked if re.search("ur[il]|href|link|path|host|callback|address", name)}
    assert named == {"webhook_url"}
