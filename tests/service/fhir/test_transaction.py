"""A prediction as a FHIR transaction: what is in it, what must not be, and that it is always the same."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any, get_args

import pytest

from service.fhir.transaction import transaction
from service.prediction.decision import REASONS, Reason
from service.prediction.schemas import Prediction
from service.prediction.words import limits
from tests.service.fhir.predictions import CLASSES, abstained, component_of, numbers, prediction, resource_of, values

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED = "http://snomed.info/sct"
CARD = "# Card\n\nSensitivity: 85 %, \N{GREEK SMALL LETTER ALPHA}.\n"
RESULTS = ("Observation", "DiagnosticReport")


def made(of: Prediction, subject: str | None = None) -> dict[str, Any]:
    return transaction(of, CLASSES, CARD, subject=subject)


def test_risk_threshold_and_probabilities_are_those_of_the_answer() -> None:
    bundle = made(prediction())
    figures = {
        ("urn:cin:observation", "risk"): 71,
        (DICOM, "122411"): 42,
        ("urn:cin:observation", "prevalence"): 18.7,
        (SNOMED, "93655004"): 71,
        (SNOMED, "25499005"): 5,
    }
    for (system, code), value in figures.items():
        quantity = component_of(bundle, system, code)["valueQuantity"]
        assert quantity == {"value": value, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
    without_code = [c for c in resource_of(bundle, "Observation")["component"] if "coding" not in c["code"]]
    assert [(c["code"]["text"], c["valueQuantity"]["value"]) for c in without_code] == [("Probability of Nevus", 24)]


def test_a_class_the_prediction_lacks_a_prevalence_for_is_left_out() -> None:
    codes = [c["code"] for c in resource_of(made(prediction(prevalence=None)), "Observation")["component"]]
    assert "urn:cin:observation|prevalence" not in [
        f"{coding['system']}|{coding['code']}" for code in codes for coding in code.get("coding", [])
    ]


@pytest.mark.parametrize("threshold", [0.710001, 0.12016212567687035, 0.7099999999])
def test_risk_and_threshold_say_the_advice(threshold: float) -> None:
    bundle = made(prediction(threshold=threshold, refer=threshold <= 0.71))
    shown = (component_of(bundle, *code) for code in (("urn:cin:observation", "risk"), (DICOM, "122411")))
    risk, limit = (component["valueQuantity"]["value"] for component in shown)
    assert (risk >= limit) == (threshold <= 0.71)


@pytest.mark.parametrize(("refer", "code"), [(True, "refer"), (False, "no-referral")])
def test_the_advice_is_the_value_and_leads_the_conclusion(refer: bool, code: str) -> None:
    bundle = made(prediction(refer=refer, threshold=0.42 if refer else 0.9))
    value = resource_of(bundle, "Observation")["valueCodeableConcept"]
    assert value["coding"] == [{"system": "urn:cin:advice", "code": code}]
    assert resource_of(bundle, "DiagnosticReport")["conclusion"].startswith(value["text"])
    assert value["text"].startswith("No ") is not refer


def test_no_diagnosis_is_a_conclusion_or_a_value() -> None:
    """The most probable class may be benign where a referral is advised."""
    bundle = made(prediction())
    report, observation = resource_of(bundle, "DiagnosticReport"), resource_of(bundle, "Observation")
    assert "conclusionCode" not in report
    named = json.dumps([report, {k: v for k, v in observation.items() if k != "component"}]).replace(
        limits(CLASSES), ""
    )
    named = named.lower()
    for diagnosis in CLASSES:
        assert diagnosis.label.lower() not in named
        assert f'"{diagnosis.snomed_ct}"' not in named
    assert [c for c in observation["component"] if "valueCodeableConcept" in c and SNOMED in json.dumps(c)] == []


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_is_there_in_words(reason: Reason) -> None:
    bundle = made(prediction(reasons=[reason]))
    told = component_of(bundle, "urn:cin:observation", "reason")["valueCodeableConcept"]
    assert told == {"coding": [{"system": "urn:cin:reason", "code": reason}], "text": REASONS[reason]}
    assert REASONS[reason] in resource_of(bundle, "DiagnosticReport")["conclusion"]


def test_the_conclusion_has_the_rates_of_testing() -> None:
    conclusion = resource_of(made(prediction()), "DiagnosticReport")["conclusion"]
    for told in (
        "balanced",
        "isic2017-test (600 images)",
        "held out",
        "85.0 %",
        "78.0 to 91.0",
        "63.0 %",
        "59.0 to 67.0",
    ):
        assert told in conclusion
    performance = prediction().decision.performance
    assert performance is not None
    flattering = prediction(performance=performance.model_copy(update={"held_out": False}))
    assert "held out" not in resource_of(made(flattering), "DiagnosticReport")["conclusion"]
    unknown = made(prediction(performance=None))
    assert "not known" in resource_of(unknown, "DiagnosticReport")["conclusion"]


def test_without_advice_there_is_no_number() -> None:
    bundle = made(abstained(), "Patient/1")
    assert numbers(bundle) == []
    observation = resource_of(bundle, "Observation")
    assert observation["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert REASONS["blurred"] in observation["dataAbsentReason"]["text"]
    assert REASONS["blurred"] in resource_of(bundle, "DiagnosticReport")["conclusion"]
    assert not [name for name in observation if name.startswith("value")]
    text = json.dumps(bundle).lower()
    for told in ("branches_disagree", "near_threshold", *(c.label.lower() for c in CLASSES)):
        assert told not in text


def test_the_search_for_numbers_would_find_them() -> None:
    found = numbers(made(prediction()))
    assert {71, 42, 18.7, 5, 24} <= {value for value in found if not isinstance(value, str)}
    assert any("85.0 %" in value for value in found if isinstance(value, str))


def test_every_result_is_marked_as_asserted_by_ai_and_preliminary() -> None:
    for of in (prediction(), abstained()):
        for kind in RESULTS:
            result = resource_of(made(of), kind)
            assert result["status"] == "preliminary"
            assert [label["code"] for label in result["meta"]["security"]] == ["AIAST"]


def test_the_same_prediction_is_the_same_transaction() -> None:
    assert made(prediction()) == made(prediction())
    ids = [entry["resource"]["id"] for entry in made(prediction())["entry"]]
    assert len(set(ids)) == 5
    for entry in made(prediction())["entry"]:
        kind, id = entry["resource"]["resourceType"], entry["resource"]["id"]
        assert entry["request"] == {"method": "PUT", "url": f"{kind}/{id}"}
        assert entry["fullUrl"] == f"urn:uuid:{id}"


def test_another_view_replaces_and_another_prediction_does_not() -> None:
    def ids(of: Prediction) -> dict[str, str]:
        return {entry["resource"]["resourceType"]: entry["resource"]["id"] for entry in made(of)["entry"]}

    first = ids(prediction())
    assert ids(prediction(operating_point="high-sensitivity", threshold=0.1, prevalence=0.02)) == first
    other = ids(prediction().model_copy(update={"id": "f" * 32}))
    assert {kind for kind in first if first[kind] == other[kind]} == {"Device", "DocumentReference"}


def test_every_reference_is_to_an_entry_or_the_patient() -> None:
    bundle = made(prediction(), "Patient/123")
    references = [value for name, value in values(bundle) if name == "reference"]
    assert set(references) == {entry["fullUrl"] for entry in bundle["entry"]} - {
        entry["fullUrl"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Provenance"
    } | {"Patient/123"}
    assert [resource_of(bundle, kind)["subject"] for kind in RESULTS] == [{"reference": "Patient/123"}] * 2
    assert not any("subject" in resource_of(made(prediction()), kind) for kind in RESULTS)


def test_model_card_and_image_are_the_predictions() -> None:
    bundle = made(prediction())
    (content,) = resource_of(bundle, "DocumentReference")["content"]
    assert b64decode(content["attachment"]["data"]).decode() == CARD
    device = resource_of(bundle, "Device")
    assert (device["identifier"][0]["value"], device["version"]) == ("0" * 64, [{"value": "2.1.0"}])
    (image,) = resource_of(bundle, "Observation")["derivedFrom"]
    assert image["identifier"] == {"system": "urn:cin:image-sha256", "value": prediction().image.sha256}
