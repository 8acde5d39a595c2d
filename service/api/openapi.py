"""The OpenAPI schema: what FastAPI finds in the routes, with the names that the bundle gives."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from service.api.feedback import FeedbackRequest
from service.bundle import Manifest
from service.fhir.example import SCHEMA as FHIR_TRANSACTION
from service.jobs.dicomweb import JobRequest
from service.ledger.entries import OTHER_DIAGNOSES
from service.prediction.schemas import COMPONENT
from service.problems import Problem

_TAGS = [
    {"name": "predictions", "description": "Send images, read what was answered, delete it."},
    {"name": "jobs", "description": "Many images at once, answered later. Needs a Redis for jobs."},
    {"name": "follow-up", "description": "The same lesion over time, what clinicians say, recalls. Needs a ledger."},
    {"name": "maps", "description": "Where the network looked."},
    {"name": "model", "description": "Which model answers, and how good it is."},
    {"name": "operation", "description": "For load balancers and monitoring."},
]


def operation_id(route: APIRoute) -> str:
    """The name of the function that generated clients have for a route."""
    return route.name


def describe(app: FastAPI, manifest: Manifest | None) -> dict[str, Any]:
    """The schema of ``app`` while it serves the bundle of ``manifest``; None: none yet, and names may be any text."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=_TAGS,
        servers=[{"url": "/", "description": "this service"}],
        contact=app.contact,
        license_info=app.license_info,
    )
    components = schema["components"]["schemas"]
    components["Problem"] = Problem.model_json_schema()
    components["FhirTransaction"] = FHIR_TRANSACTION
    components["FeedbackRequest"] = FeedbackRequest.model_json_schema()
    job = JobRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    components |= {**job.pop("$defs"), "JobRequest": job}
    components["Diagnosis"] = {"type": "string", "description": "A class of the model."}
    components["ClinicalDiagnosis"] = {"type": "string", "description": "A class of the model, or another diagnosis."}
    components["OperatingPointName"] = {"type": "string", "description": "An operating point of the model."}
    if manifest is not None:
        labels = ", ".join(f"`{c.name}` ({c.label})" for c in manifest.classes)
        components["Diagnosis"] |= {
            "enum": [c.name for c in manifest.classes],
            "description": f"A class of the model: {labels}.",
        }
        components["ClinicalDiagnosis"]["enum"] = list(
            dict.fromkeys((*(c.name for c in manifest.classes), *OTHER_DIAGNOSES))
        )
        components["OperatingPointName"] |= {
            "enum": [point.name for point in manifest.operating_points],
            "description": f"An operating point of the model; `{manifest.default_operating_point}` by default.",
        }
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        operation.setdefault("security", [])  # those of FastAPI are where a key may be asked for
    # FastAPI's own errors, which never occur: every problem has the same body.
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    referring: dict[str, Any] = _with_references(schema)
    return referring


def _with_references(schema: Any) -> Any:
    """The schema with references to the named components in the place of their marks."""
    if isinstance(schema, list):
        return [_with_references(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if (component := schema.get(COMPONENT)) is not None:
        described = {"description": schema["description"]} if "description" in schema else {}
        return {"$ref": f"#/components/schemas/{component}", **described}
    return {name: _with_references(part) for name, part in schema.items()}
