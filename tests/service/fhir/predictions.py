"""Predictions to turn into FHIR, and what is read from the result."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from service.bundle import DiagnosisClass
from service.prediction.schemas import EXAMPLE, Prediction

CLASSES = (
    DiagnosisClass(name="melanoma", label="Melanoma", malignant=True, snomed_ct="93655004"),
    DiagnosisClass(name="seborrheic_keratosis", label="Seborrheic keratosis", malignant=False, snomed_ct="25499005"),
    DiagnosisClass(name="nevus", label="Nevus", malignant=False),
)


def prediction(**decision: Any) -> Prediction:
    """A referral with one reason for caution; keyword arguments are fields of its decision."""
    fields = copy.deepcopy(EXAMPLE)
    fields["decision"] |= decision
    return Prediction.model_validate(fields)


def abstained(**decision: Any) -> Prediction:
    """As it is kept: with the figures behind no advice."""
    reasons = ["blurred", "branches_disagree", "near_threshold"]
    return prediction(refer=None, status="abstained", reasons=reasons, abstained_because=["blurred"], **decision)


def resource_of(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    """The only resource of a type in a transaction."""
    (found,) = (entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind)
    resource: dict[str, Any] = found
    return resource


def component_of(bundle: dict[str, Any], system: str, code: str) -> dict[str, Any]:
    """The only component of the Observation with this code."""
    found = [
        component
        for component in resource_of(bundle, "Observation")["component"]
        if {"system": system, "code": code}.items() <= component["code"].get("coding", [{}])[0].items()
    ]
    (component,) = found
    return component


def values(part: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below ``part`` that is neither object nor list, with its member's name."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from values(value, key)
    elif isinstance(part, list):
        for value in part:
            yield from values(value, name)
    else:
        yield name, part


# Members that people read.
_FOR_PEOPLE = {"text", "display", "conclusion", "title", "valueString", "div"}


def numbers(bundle: dict[str, Any]) -> list[Any]:
    """Every number in a transaction, and every text for people that has one; names of model and variant are none."""
    model = resource_of(bundle, "Device")
    names = [model["deviceName"][0]["name"], model["version"][0]["value"], "fp32", "int8", "fp16"]
    found: list[Any] = []
    for name, value in values(bundle):
        if isinstance(value, str):
            for known in names:
                value = value.replace(known, "")
            found += [value] if name in _FOR_PEOPLE and re.search(r"\d|%", value) else []
        elif not isinstance(value, bool):
            found.append(value)
    return found
