"""Codes, quantities and references of FHIR R4, as plain dictionaries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

Json = dict[str, Any]

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED_CT = "http://snomed.info/sct"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_AI_TRANSPARENCY = "http://hl7.org/fhir/uv/aitransparency"

# Marks what a program asserted and no clinician has confirmed.
AIAST = {
    "system": f"{_TERMINOLOGY}/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}


def ours(kind: str) -> str:
    """The system of identifiers and codes that this software defines."""
    return f"urn:cin:{kind}"


def hl7(name: str) -> str:
    """A code system of HL7's terminology."""
    return f"{_TERMINOLOGY}/{name}"


def transparency(name: str) -> str:
    """A profile or code system of HL7's guide *AI Transparency on FHIR*."""
    return f"{_AI_TRANSPARENCY}/{name}"


def concept(system: str, code: str, display: str | None = None, *, text: str | None = None) -> Json:
    """A CodeableConcept of one coding."""
    return {"coding": [coding(system, code, display)]} | ({} if text is None else {"text": text})


def coding(system: str, code: str, display: str | None = None) -> Json:
    """A Coding; ``display`` in the words of its system."""
    return {"system": system, "code": code} | ({} if display is None else {"display": display})


def identifier(kind: str, value: str) -> Json:
    """An Identifier that this software assigns."""
    return {"system": ours(kind), "value": value}


def percent(share: float) -> Json:
    """A Quantity in per cent, precise enough to compare a risk with its threshold as the service did."""
    return {"value": float(f"{100 * share:.10g}"), "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}


def instant(at: datetime) -> str:
    """A time in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stable_id(kind: str, key: str) -> UUID:
    """The id of a resource: always the same for the same thing, so that a repeated PUT changes nothing."""
    return uuid5(NAMESPACE_URL, f"{ours(kind)}:{key}")
