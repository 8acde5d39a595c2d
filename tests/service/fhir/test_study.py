"""The DICOM study of an image in a transaction: as FHIR has it, never in place of the server's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.fhir.study import Study
from service.fhir.transaction import transaction
from tests.service.fhir.predictions import CLASSES, prediction, resource_of, values

DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.7"
STUDY = Study("2.25.1", "2.25.2", "2.25.3", DERMOSCOPY, modality="DMS", patient="P-7", issuer="Clinic")
BY_UID = {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1"}
RESULTS = ("Observation", "DiagnosticReport")


def made(study: Study | None = STUDY, subject: str | None = "Patient/1") -> dict[str, Any]:
    return transaction(prediction(), CLASSES, "# Card\n", subject=subject, study=study)


def sources(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """What was judged, by the Observation; the Provenance says the same."""
    found: list[dict[str, Any]] = resource_of(bundle, "Observation")["derivedFrom"]
    entities = resource_of(bundle, "Provenance")["entity"]
    assert [entity["what"] for entity in entities if entity["role"] == "source"] == found
    return found


def test_the_study_is_created_unless_the_server_has_it() -> None:
    bundle = made()
    (entry,) = (each for each in bundle["entry"] if each["resource"]["resourceType"] == "ImagingStudy")
    search = "identifier=urn:dicom:uid|urn:oid:2.25.1"
    assert entry["request"] == {"method": "POST", "url": "ImagingStudy", "ifNoneExist": search}
    resource = entry["resource"]
    dermoscopy = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "DMS"}
    assert (resource["identifier"], resource["modality"]) == ([BY_UID], [dermoscopy])
    (series,) = resource["series"]
    assert (series["uid"], series["modality"]) == ("2.25.2", dermoscopy)
    sop_class = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{DERMOSCOPY}"}
    assert series["instance"] == [{"uid": "2.25.3", "sopClass": sop_class}]
    assert resource_of(bundle, "DiagnosticReport")["imagingStudy"] == [{"reference": entry["fullUrl"]}]


def test_the_image_is_named_also_where_the_servers_study_does_not_list_it() -> None:
    study, instance, digest = sources(made())
    assert study["reference"].startswith("urn:uuid:")
    assert instance["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:2.25.3"}
    assert digest["identifier"]["system"] == "urn:cin:image-sha256"
    assert sources(made(None)) == [digest]


def test_ids_follow_from_the_study() -> None:
    def url(study: Study) -> str:
        return str(sources(made(study))[0]["reference"])

    assert made() == made()
    assert url(replace(STUDY, series="2.25.9", instance="2.25.8")) == url(STUDY)
    assert url(replace(STUDY, uid="2.25.9")) != url(STUDY)


@pytest.mark.parametrize(
    ("study", "subject"),
    [(replace(STUDY, modality=None), "Patient/1"), (replace(STUDY, patient=None), None)],
    ids=["modality", "patient"],
)
def test_without_what_fhir_requires_of_a_study_it_is_referred_to(study: Study, subject: str | None) -> None:
    bundle = made(study, subject)
    assert "ImagingStudy" not in {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    by_uid = {"type": "ImagingStudy", "identifier": BY_UID}
    assert resource_of(bundle, "DiagnosticReport")["imagingStudy"] == [by_uid]
    assert sources(bundle)[0] == by_uid


def test_the_subject_stands_before_the_patient_of_the_file() -> None:
    bundle = made()
    assert "P-7" not in {value for _, value in values(bundle)}
    for kind in (*RESULTS, "ImagingStudy"):
        assert resource_of(bundle, kind)["subject"] == {"reference": "Patient/1"}
    assigned = {"value": "P-7", "assigner": {"display": "Clinic"}}
    for kind in (*RESULTS, "ImagingStudy"):
        assert resource_of(made(subject=None), kind)["subject"] == {"type": "Patient", "identifier": assigned}
    nobody = made(replace(STUDY, patient=None), None)
    assert not any("subject" in resource_of(nobody, kind) for kind in RESULTS)


def test_a_study_shows_nothing_of_itself_in_a_log() -> None:
    assert not [value for value in ("2.25.1", "2.25.2", "2.25.3", "P-7", "Clinic") if value in repr(STUDY)]
