"""What is shown of a kept prediction: no figures without advice, other operating points, another prevalence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.bundle import Bundle, Interval, NotSure
from tests.service.conftest import Start, service_of, store_of
from tests.service.tiny_bundle import CLASSES, PREVALENCE, THRESHOLD, dark_square, picture_bytes

ABSTAINED = picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2)))  # too dark
UNFIT = ("diagnosis", "probabilities", "branches")
PATHS = ("/predict", "/v1/predictions")


@pytest.fixture
def examining(start: Start, examining_bundle: Bundle) -> Iterator[TestClient]:
    with start(bundle=examining_bundle.folder) as client:
        yield client


def post(client: TestClient, picture: bytes, path: str = "/v1/predictions", **query: Any) -> dict[str, Any]:
    response = client.post(path, files={"image": picture}, params=query)
    assert response.status_code == (200 if path == "/predict" else 201), response.text
    body: dict[str, Any] = response.json()
    return body


def shows_nothing(body: dict[str, Any]) -> bool:
    """Whether nothing in an abstained answer tells a diagnosis."""
    decision = body["decision"]
    assert decision["status"] == "abstained"
    figures = [body[name] for name in UNFIT] + [decision["refer"], decision["malignant_probability"]]
    told = {"near_threshold", "branches_disagree"} & set(decision["reasons"])
    return figures == [None] * 5 and not told and not any(f'"{name}"' in json.dumps(body) for name in CLASSES)


@pytest.mark.parametrize("path", PATHS)
def test_an_abstained_answer_has_no_figures(examining: TestClient, path: str) -> None:
    body = post(examining, ABSTAINED, path)
    assert shows_nothing(body)
    for kept in (f"/v1/predictions/{body['id']}", f"/predictions/{body['id']}"):
        for query in ({}, {"operating_point": "high-sensitivity"}, {"prevalence": 0.02}):
            assert shows_nothing(examining.get(kept, params=query).json())


def test_the_reasons_of_an_abstained_answer_tell_of_no_figure(examining: TestClient) -> None:
    near = picture_bytes(Image.new("RGB", (256, 256), (9, 2, 2)))
    body = post(examining, near)
    assert shows_nothing(body)
    assert body["decision"]["reasons"]
    raw = examining.get(f"/v1/predictions/{body['id']}", params={"include": "raw"}).json()
    assert "near_threshold" in raw["decision"]["reasons"]


def test_an_abstained_answer_of_a_batch_has_no_figures(examining: TestClient) -> None:
    files = [("image", ABSTAINED), ("image", picture_bytes(dark_square()))]
    first, second = examining.post("/v1/predictions/batch", files=files).json()["answers"]
    assert shows_nothing(first["prediction"])
    assert second["prediction"]["probabilities"] is not None
    raw = examining.post("/v1/predictions/batch", files=files, params={"include": "raw"}).json()["answers"]
    assert raw[0]["prediction"]["diagnosis"] in CLASSES


def test_raw_figures_are_there_when_they_are_asked_for(examining: TestClient) -> None:
    body = post(examining, ABSTAINED, include="raw")
    assert body["diagnosis"] in CLASSES
    assert sum(body["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert body["decision"]["refer"] is None
    kept = examining.get(f"/v1/predictions/{body['id']}", params={"include": "raw"}).json()
    assert {name: kept[name] for name in UNFIT} == {name: body[name] for name in UNFIT}
    assert shows_nothing(examining.get(f"/v1/predictions/{body['id']}").json())


def test_another_operating_point_is_what_the_picture_gets_there(client: TestClient) -> None:
    picture = picture_bytes(dark_square((60, 80, 120)))
    body, sent = (post(client, picture, operating_point=name) for name in ("balanced", "high-sensitivity"))
    seen = client.get(f"/v1/predictions/{body['id']}", params={"operating_point": "high-sensitivity"}).json()
    assert seen["decision"] == sent["decision"] != body["decision"]
    points = {point.name: point for point in service_of(client).scheduler.bundle.manifest.operating_points}
    for shown, name in ((body, "balanced"), (seen, "high-sensitivity")):
        performance = shown["decision"]["performance"]
        assert performance["sensitivity"] == points[name].sensitivity.model_dump()
        assert performance["specificity"] == points[name].specificity.model_dump()
        assert (performance["measured_on"], performance["held_out"]) == (points[name].measured_on, False)
    assert client.get(f"/v1/predictions/{body['id']}").json() == body


def test_prevalence_moves_probability_and_threshold_by_bayes_and_not_the_decision(client: TestClient) -> None:
    body = post(client, picture_bytes(dark_square()))
    assert body["decision"]["prevalence"] == PREVALENCE["melanoma"]
    seen = client.get(f"/v1/predictions/{body['id']}", params={"prevalence": 0.05}).json()
    assert seen["decision"]["prevalence"] == 0.05
    # Worked out by hand: the threshold's odds 2:3 are a likelihood ratio of 2 at odds 1:3, and 2:19 at odds 1:19.
    assert THRESHOLD == 0.4
    assert seen["decision"]["threshold"] == pytest.approx(2 / 21)
    p = body["decision"]["malignant_probability"]
    ratio = p / (1 - p) * 3
    expected = ratio / 19 / (1 + ratio / 19)
    assert seen["decision"]["malignant_probability"] == pytest.approx(expected, abs=2e-6)
    assert seen["probabilities"]["melanoma"] == pytest.approx(expected, abs=2e-6)
    for name in ("refer", "status", "reasons", "operating_point"):
        assert seen["decision"][name] == body["decision"][name]
    sent = post(client, picture_bytes(dark_square()), prevalence=0.05)
    assert (sent["decision"], sent["probabilities"]) == (seen["decision"], seen["probabilities"])


@pytest.mark.parametrize("prevalence", [1e-6, 1e-4, 0.5, 1 - 1e-6])
def test_probability_and_threshold_say_the_decision_also_where_malignant_lesions_are_rare(
    client: TestClient, prevalence: float
) -> None:
    for colour in ((60, 80, 120), (90, 60, 50), (70, 70, 80), (40, 40, 90)):
        decision = post(client, picture_bytes(dark_square(colour)), prevalence=prevalence)["decision"]
        assert decision["refer"] == (decision["malignant_probability"] >= decision["threshold"])
        assert 0 < decision["malignant_probability"] < 1


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"operating_point": "none"}, "operating_point"),
        ({"prevalence": "0"}, "prevalence"),
        ({"prevalence": "1"}, "prevalence"),
        ({"prevalence": "1e-7"}, "prevalence"),
        ({"prevalence": "0.9999999"}, "prevalence"),
        ({"prevalence": "nan"}, "prevalence"),
        ({"include": "all"}, "include"),
        ({"prevalance": "0.1"}, "prevalence"),
        ({"operating-point": "balanced"}, "operating_point"),
        ({"prevalence": ["0.1", "0.2"]}, "prevalence"),
    ],
)
def test_a_wrong_wish_is_named(client: TestClient, query: dict[str, Any], told: str) -> None:
    body = post(client, picture_bytes(dark_square()))
    for response in (
        client.get(f"/v1/predictions/{body['id']}", params=query),
        client.post("/v1/predictions", files={"image": picture_bytes(dark_square())}, params=query),
    ):
        assert response.status_code == 400
        assert told in response.json()["detail"]


def test_a_model_that_does_not_say_its_prevalence_is_not_converted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = service_of(client).scheduler.engine
    silent = engine.bundle.manifest.model_copy(update={"prevalence": None})
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"manifest": silent}))
    for path in ("/predict", "/v1/predictions/batch"):
        response = client.post(path, files={"image": picture_bytes(dark_square())}, params={"prevalence": 0.1})
        assert response.status_code == 400
        assert "calibrated" in response.json()["detail"]
    assert store_of(client).purge().kept == 0, "nothing that nobody knows of"


def test_another_model_does_not_judge_a_kept_prediction(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    body = post(client, picture_bytes(dark_square()))
    engine = service_of(client).scheduler.engine
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"sha256": "0" * 64}))
    address = f"/v1/predictions/{body['id']}"
    for query in ({"operating_point": "balanced"}, {"prevalence": 0.1}):
        response = client.get(address, params=query)
        assert (response.status_code, response.json()["type"]) == (409, "urn:cin:problem:conflict")
    assert client.get(address).json() == body


def test_an_unsure_answer_refers_at_every_operating_point_and_prevalence(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = service_of(client).scheduler.engine
    rule = NotSure(least_probability=0.99, chosen_on="nothing", cost=Interval(value=0.0, low=0.0, high=0.1))
    careful = engine.bundle.manifest.model_copy(update={"not_sure": rule})
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"manifest": careful}))
    body = post(client, picture_bytes(dark_square((0, 90, 150))), operating_point="balanced")
    decision = body["decision"]
    assert decision["malignant_probability"] < decision["threshold"]
    assert (decision["refer"], decision["status"], "not_sure" in decision["reasons"]) == (True, "caution", True)
    for query in ({}, {"operating_point": "balanced"}, {"prevalence": 0.01}):
        seen = client.get(f"/v1/predictions/{body['id']}", params=query).json()["decision"]
        assert (seen["refer"], "not_sure" in seen["reasons"]) == (True, True)
    lower = {point.name: point for point in careful.operating_points}["high-sensitivity"]
    assert decision["malignant_probability"] >= lower.threshold
    seen = client.get(f"/v1/predictions/{body['id']}", params={"operating_point": lower.name}).json()["decision"]
    assert (seen["refer"], "not_sure" in seen["reasons"]) == (True, False), "the threshold decides"


def test_where_a_prediction_is_and_until_when(client: TestClient) -> None:
    response: httpx.Response = client.post("/v1/predictions", files={"image": picture_bytes(dark_square())})
    body = response.json()
    assert response.headers["location"] == f"/v1/predictions/{body['id']}"
    assert client.get(response.headers["location"]).json() == body
    assert body["expires_at"] > body["created_at"]
    assert client.delete(response.headers["location"]).status_code == 204
    assert client.get(response.headers["location"]).status_code == 404
