"""What a transaction says about the DICOM study of an image; pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.fhir.coding import DICOM, Json, coding

_UIDS = "urn:dicom:uid"


@dataclass(frozen=True)
class Study:
    """A DICOM image by its UIDs, in its study and series. ``modality``, ``patient`` (the PatientID) and ``issuer``
    (of that) are None where the file does not state them.

    It identifies a patient, so its ``repr`` shows nothing.
    """

    uid: str = field(repr=False)
    series: str = field(repr=False)
    instance: str = field(repr=False)
    sop_class: str = field(repr=False)
    modality: str | None = field(default=None, repr=False)
    patient: str | None = field(default=None, repr=False)
    issuer: str | None = field(default=None, repr=False)


def patient(subject: str | None, study: Study | None) -> Json | None:
    """The reference to the patient: ``subject``, or else the PatientID of the study's file."""
    if subject is not None:
        return {"reference": subject}
    if study is None or study.patient is None:
        return None
    assigner = {} if study.issuer is None else {"assigner": {"display": study.issuer}}
    return {"type": "Patient", "identifier": {"value": study.patient, **assigner}}


def imaging_study(study: Study, modality: str, subject: Json) -> Json:
    """The study, of which no more is known than this image."""
    sop_class = coding("urn:ietf:rfc:3986", _oid(study.sop_class))
    instance = {"uid": study.instance, "sopClass": sop_class}
    return {
        "resourceType": "ImagingStudy",
        "identifier": [_identifier(study.uid)],
        "status": "available",
        "modality": [coding(DICOM, modality)],
        "subject": subject,
        "series": [{"uid": study.series, "modality": coding(DICOM, modality), "instance": [instance]}],
    }


def study_search(study: Study) -> str:
    """The search that finds the study on a FHIR server."""
    return f"identifier={_UIDS}|{_oid(study.uid)}"


def study_reference(study: Study) -> Json:
    """The study by its UID, wherever it is."""
    return {"type": "ImagingStudy", "identifier": _identifier(study.uid)}


def instance_reference(study: Study) -> Json:
    """The image by its SOP Instance UID; an ImagingStudy that a server has may not list it."""
    return {"type": "Media", "identifier": _identifier(study.instance), "display": "the DICOM image that was sent"}


def _identifier(uid: str) -> Json:
    return {"system": _UIDS, "value": _oid(uid)}


def _oid(uid: str) -> str:
    return f"urn:oid:{uid}"
