"""The structured report: the advice first, figures as they were answered, and none without advice."""

from __future__ import annotations

import io
import re
from typing import Any

import highdicom
import pytest
from pydicom.dataset import Dataset

from service.dicom.identity import KINDS, Kind
from service.dicom.objects import build
from service.dicom.source import read_source
from service.prediction.schemas import Prediction
from service.prediction.words import conclusion
from tests.service.dicom.results import INSTANCE, SERIES, about, attention, items, photograph, read
from tests.service.fhir.predictions import CLASSES, abstained, prediction
from tests.service.imaging.dicoms import PATIENT


def values(report: Dataset, name: str) -> list[str]:
    """Texts or codes of the items of that name."""
    found = [item for meaning, item in items(report) if meaning == name]
    return [i.get("TextValue") or i.ConceptCodeSequence[0].CodeMeaning for i in found]


def report(made: Prediction | None = None) -> Dataset:
    return read(about(made)["sr"])


def test_highdicom_reads_the_same_figures_and_region() -> None:
    made = prediction()
    content: Any = highdicom.sr.srread(io.BytesIO(about(made)["sr"])).content
    (group,) = content.get_planar_roi_measurement_groups()
    measured = {each.name.meaning: (each.value, each.unit.value) for each in group.get_measurements()}
    assert made.probabilities is not None
    expected = {
        "Melanoma risk": 71.0,
        "Threshold Value": 42.0,
        "Share of malignant lesions for which the figures hold": 18.7,
        **{f"Probability of {each.label}": 100 * made.probabilities[each.name] for each in CLASSES},
    }
    assert measured == {name: (pytest.approx(value, abs=1e-9), "%") for name, value in expected.items()}
    assert group.roi.value.tolist() == [[30, 20], [271, 20], [271, 203], [30, 203], [30, 20]]
    assert group.finding_type.value == "95324001"
    (site,) = group.finding_sites
    assert (site.topographical_modifier, site.laterality.meaning) == (None, "Left")
    evaluated = {each.name.meaning: each.value.value for each in group.get_qualitative_evaluations()}
    assert evaluated["Referral advice"] == "refer"


def test_classes_are_coded_as_the_bundle_has_them() -> None:
    coded = {
        name: item.ContentSequence[0].ConceptCodeSequence[0]
        for name, item in items(report())
        if name.startswith("Pro")
        if "ContentSequence" in item
    }
    assert {name: (code.CodeValue, code.CodingSchemeDesignator) for name, code in coded.items()} == {
        "Probability of Melanoma": ("93655004", "SCT"),
        "Probability of Seborrheic keratosis": ("25499005", "SCT"),
        "Probability of Nevus": ("nevus", "99CIN"),  # the bundle has no concept of SNOMED CT for it
    }


def test_it_is_preliminary_unverified_and_by_a_device() -> None:
    made = prediction()
    document = report(made)
    assert (document.PreliminaryFlag, document.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert values(document, "Observer Type") == ["Device"]
    assert values(document, "Device Observer Name") == [made.model.name]
    assert values(document, "Device Observer Serial Number") == [made.model.sha256]
    assert values(document, "Algorithm Version") == [made.model.version]
    assert f"sha256={made.model.sha256}" in values(document, "Algorithm Parameters")


@pytest.mark.parametrize("refer", [True, False])
def test_the_advice_comes_first_and_no_class_is_a_finding(refer: bool) -> None:
    made = prediction(refer=refer, malignant_probability=0.3, threshold=0.2 if refer else 0.42)
    document = report(made)
    told = [name for name, item in items(document) if item.RelationshipType == "CONTAINS"]
    assert told[0] == "Conclusion"
    assert told.index("Referral advice") < min(told.index("Melanoma risk"), told.index("Reason for caution"))
    assert values(document, "Conclusion") == [conclusion(made, CLASSES)]
    assert values(document, "Referral advice") == ["Referral advised" if refer else "No referral advised for melanoma"]
    assert values(document, "Finding") == ["Skin lesion"]
    assert not any(each.label in text for each in CLASSES for text in values(document, "Conclusion"))


def test_without_advice_there_is_the_reason_and_no_number() -> None:
    document = report(abstained())
    assert [item for _, item in items(document) if item.ValueType in ("NUM", "SCOORD", "NUMERIC")] == []
    assert values(document, "Referral advice") == ["No assessment, because the image is not suitable"]
    assert values(document, "Reason for no assessment") == ["blurred"]
    assert "Reason for caution" not in dict(items(document))  # those left tell of the figures
    for_people = " ".join(values(document, "Conclusion"))
    assert for_people.startswith("No assessment")
    assert re.search(r"\d|%", for_people) is None
    text = str(document)
    assert not any(each.label in text or each.name in text for each in CLASSES)
    assert "near_threshold" not in text
    content: Any = highdicom.sr.srread(io.BytesIO(about(abstained())["sr"])).content
    (group,) = content.get_image_measurement_groups()
    assert group.get_measurements() == []


def test_it_belongs_to_the_study_and_refers_to_what_is_there() -> None:
    files = about()
    document, capture = read(files["sr"]), read(files["sc"])
    assert {name: document[name].value for name in PATIENT} == PATIENT
    referred = {
        (series.SeriesInstanceUID, instance.ReferencedSOPInstanceUID)
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert referred == {(SERIES, INSTANCE), (capture.SeriesInstanceUID, capture.SOPInstanceUID)}
    (explanation,) = [item for name, item in items(document) if name == "Visual explanation"]
    assert explanation.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == capture.SOPInstanceUID
    alone = read(about(kinds=["sr"])["sr"])
    assert "Visual explanation" not in dict(items(alone))


def test_a_repetition_is_the_same_object_but_for_its_times() -> None:
    assert about() == about()
    made = prediction()
    later = made.model_copy(update={"created_at": made.created_at.replace(year=2027), "id": "f" * 32})
    for first, second in zip(about(made).values(), about(later).values(), strict=True):
        one, other = read(first), read(second)
        assert {element.keyword for element in one if element != other[element.tag]} <= {
            *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
            *("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
            *("PresentationCreationDate", "PresentationCreationTime"),
        }


def test_times_are_in_the_zone_of_the_source() -> None:
    for offset, expected in (("+0530", "20260101173000.000000"), ("-0200", "20260101100000.000000")):
        document = read(about(TimezoneOffsetFromUTC=offset)["sr"])
        assert document.ContentDate + document.ContentTime == expected
        assert document.TimezoneOffsetFromUTC == offset


def test_lesions_keep_their_identifiers() -> None:
    given = report_of(TrackingID="naevus 7", TrackingUID="2.25.77")
    assert values(given, "Tracking Identifier") == ["naevus 7"]
    assert dict(items(given))["Tracking Unique Identifier"].UID == "2.25.77"
    assert values(report_of(), "Tracking Identifier") == ["Lesion"]


def report_of(**elements: Any) -> Dataset:
    return read(about(**elements)["sr"])


def test_only_the_kinds_that_are_asked_for_are_made() -> None:
    source = read_source(photograph())
    choices: list[tuple[Kind, ...]] = [("sr",), ("pr", "sc"), KINDS]
    for kinds in choices:
        made = build(kinds, source, prediction(), attention(), CLASSES)
        assert len(made) == len(kinds)
