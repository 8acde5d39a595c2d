"""DICOM by HTTP: the answer of the image in it, cautions, and problems that name what the file is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.problems import TOO_LARGE, UNDECODABLE, UNSUPPORTED_TYPE
from tests.service.imaging.cases import PIXELS
from tests.service.imaging.dicoms import PATIENT, of_array, of_jpeg
from tests.service.imaging.test_dicom import JPEG, SAME
from tests.service.imaging.test_dicom_refusals import REFUSED
from tests.service.wire import check_problem, post, post_form

OF_JPEG = of_jpeg(JPEG)
FIGURES = ("diagnosis", "probabilities", "branches", "decision", "lesion", "quality")


@pytest.mark.parametrize("address", ["/predict", "/v1/predictions"])
def test_a_dicom_file_gets_the_answer_of_its_jpeg(client: TestClient, address: str) -> None:
    expected = post_form(client, JPEG).json()
    answers = [
        client.post(address, content=OF_JPEG, headers={"Content-Type": "application/dicom"}),
        client.post(address, content=OF_JPEG, headers={"Content-Type": "Application/DICOM; transfer-syntax=*"}),
        client.post(address, files={"image": OF_JPEG}),
    ]
    for answer in answers:
        assert answer.is_success, answer.text
        body = answer.json()
        assert {name: body[name] for name in FIGURES} == {name: expected[name] for name in FIGURES}
        assert body["image"]["format"] == "DICOM"
        assert client.get(body["attention"]["lesion"]).status_code == 200


def test_the_scale_that_a_file_states_is_in_the_answer(client: TestClient) -> None:
    scaled = of_jpeg(JPEG, PixelSpacing=["0.2", "0.2"])
    images = [post(client, data).json()["image"] for data in (scaled, OF_JPEG, JPEG)]
    assert [image["millimetres_per_pixel"] for image in images] == [0.2, None, None]


def test_a_batch_answers_each_file(client: TestClient) -> None:
    report = REFUSED["report"][2]
    answers = client.post("/v1/predictions/batch", files=[("image", data) for data in (OF_JPEG, report, JPEG)]).json()
    first, second, third = answers["answers"]
    assert first["prediction"]["probabilities"] == third["prediction"]["probabilities"]
    assert second["problem"]["type"] == UNSUPPORTED_TYPE.uri
    assert "Comprehensive SR Storage" in second["problem"]["detail"]


def test_what_the_file_states_calls_for_caution(client: TestClient) -> None:
    data = of_jpeg(JPEG, BurnedInAnnotation="YES", RecognizableVisualFeatures="YES")
    plain, marked = (post(client, each).json()["decision"] for each in (OF_JPEG, data))
    assert marked["reasons"] == [*plain["reasons"], "burned_in_annotation", "recognizable_features"]
    assert marked["status"] == ("abstained" if plain["status"] == "abstained" else "caution")
    assert marked["refer"] == plain["refer"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["report", "video", "deflated", "several frames", "cut off in a fragment", "lacks Rows"]
)
def test_a_refusal_is_a_problem_that_says_what_to_do(client: TestClient, name: str) -> None:
    error, words, data = REFUSED[name]
    status = (UNSUPPORTED_TYPE if error.__name__ == "UnsupportedPicture" else UNDECODABLE).status
    check_problem(post(client, data, "application/dicom"), status, words)


def test_a_file_of_too_many_pixels(client: TestClient) -> None:
    data = of_array(PIXELS, Rows=60_000, Columns=60_000)
    check_problem(post(client, data, "application/dicom"), TOO_LARGE.status, "60000 x 60000")


def test_the_schema_offers_dicom(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for address in ("/predict", "/v1/predictions"):
        assert "application/dicom" in schema["paths"][address]["post"]["requestBody"]["content"]


def test_no_patient_is_in_an_answer(client: TestClient) -> None:
    for data in (OF_JPEG, *(data for data, _ in list(SAME.values())[::8])):
        answer = post(client, data)
        assert answer.status_code == 200
        kept = answer.text + json.dumps(dict(answer.headers)) + client.get("/metrics").text
        assert [value for value in PATIENT.values() if value in kept] == []


def test_pixels_are_answered_where_they_are_stored(client: TestClient) -> None:
    """Coordinates are those of the matrix: nothing turns it."""
    turned = np.ascontiguousarray(PIXELS[:, :40])
    image = post(client, of_array(turned)).json()["image"]
    assert (image["width"], image["height"]) == (40, 64)
