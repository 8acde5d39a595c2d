"""Entries of the audit log as FHIR R4 AuditEvents, by IHE's Basic Audit Log Patterns where one fits; pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.fhir.coding import DICOM, Json, coding, concept, hl7, identifier, ours, stable_id

_PATTERNS = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit"


@dataclass(frozen=True)
class _Request:
    """A pattern for a request: its name, FHIR's interaction and action, the roles of client and server."""

    pattern: str
    interaction: str
    action: str
    client: Json
    server: Json


_SOURCE = concept(DICOM, "110153", "Source Role ID")
_DESTINATION = concept(DICOM, "110152", "Destination Role ID")
_APPLICATION = concept(DICOM, "110150", "Application")
_CUSTODIAN = concept(hl7("provenance-participant-type"), "custodian", "Custodian")
_READ = _Request("Read", "read", "R", client=_DESTINATION, server=_SOURCE)
_CREATE = _Request("Create", "create", "C", client=_SOURCE, server=_DESTINATION)
_DELETE = _Request("Delete", "delete", "D", client=_APPLICATION, server=_CUSTODIAN)
_REQUESTS = {
    "prediction": _CREATE,
    "prediction-read": _READ,
    "attention-read": _READ,
    "prediction-delete": _DELETE,
    "feedback": _CREATE,
    "lesion-read": _READ,
    "lesions-read": _READ,
    "worklist-read": _READ,
    "recalls-read": _READ,
    "lesion-delete": _DELETE,
    "job": _CREATE,
    "job-read": _READ,
    "job-delete": _DELETE,
}
_ACTIVITY, _ALERT = ("110100", "Application Activity"), ("110113", "Security Alert")
_CHANGED_USERS = ("110137", "User Security Attributes Changed")
# DICOM's event and its kind. Other entries, which are about the log itself, are alerts.
_EVENTS = {
    "start": (_ACTIVITY, ("110120", "Application Start")),
    "stop": (_ACTIVITY, ("110121", "Application Stop")),
    "purge": (_ACTIVITY, None),
    "writable-again": (_ACTIVITY, None),
    "access-refused": (("110114", "User Authentication"), ("110122", "Login")),
    "keys-changed": (_ALERT, _CHANGED_USERS),
    "key-created": (_ALERT, _CHANGED_USERS),
    "key-revoked": (_ALERT, _CHANGED_USERS),
}
# AuditEvent.outcome of entries that say no outcome but are failures, and of outcomes; others are minor failures.
_FAILURES = {"access-refused": "4", "gap": "8"}
_OUTCOMES = {"answered": "0", "done": "0", "requested": "0", "internal-error": "8"}
# A request that began may still fail.
_COMPLETED = frozenset({"answered", "done"})
# Members with a place of their own in an AuditEvent.
_PLACED = frozenset({"seq", "previous", "at", "what", "by", "id", "model", "outcome", "sha256"})
_SERVICE = {"display": "Clinical-Inspired Network"}
# The log has no addresses, and a pattern wants to know where each side was.
_NO_ADDRESS = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]
}


def audit_event(entry: Mapping[str, Any]) -> Json:
    """The AuditEvent of one entry, as it is read from the log: who did what when, to which prediction.

    Number and digest of the entry are among its entities, so that the last event has the head of the chain. The id
    follows from the digest.
    """
    request = _REQUESTS.get(entry["what"])
    outcome = entry.get("outcome")
    event = {
        "resourceType": "AuditEvent",
        "id": str(stable_id("audit-event", entry["sha256"])),
        **(_of_event(entry["what"]) if request is None else _of_request(request)),
        "recorded": entry["at"],
        "outcome": _FAILURES.get(entry["what"], "0") if outcome is None else _OUTCOMES.get(outcome, "4"),
        "agent": _agents(entry, request),
        "source": {
            "observer": _SERVICE,
            "type": [coding(hl7("security-source-type"), "4", "Application Server")],
        },
        "entity": _entities(entry),
    }
    event["subtype"].append(coding(ours("audit"), entry["what"]))
    if outcome is not None:
        event["outcomeDesc"] = outcome
    if request is not None and outcome in _COMPLETED and "id" in entry:
        event["meta"] = {"profile": [f"{_PATTERNS}.{request.pattern}"]}
    return event


def _of_request(request: _Request) -> Json:
    return {
        "type": coding(hl7("audit-event-type"), "rest", "RESTful Operation"),
        "subtype": [coding("http://hl7.org/fhir/restful-interaction", request.interaction, request.interaction)],
        "action": request.action,
    }


def _of_event(what: str) -> Json:
    event, kind = _EVENTS.get(what, (_ALERT, None))
    return {
        "type": coding(DICOM, *event),
        "subtype": [] if kind is None else [coding(DICOM, *kind)],
        "action": "E",
    }


def _agents(entry: Mapping[str, Any], request: _Request | None) -> list[Json]:
    """The caller, by the name of its key, and this service."""
    service: Json = {"who": _SERVICE, "requestor": "by" not in entry}
    if "by" not in entry:
        return [service]
    caller: Json = {"who": {"identifier": identifier("caller", entry["by"])}, "requestor": True}
    if request is not None:
        caller |= {"type": request.client, "network": _NO_ADDRESS}
        service |= {"type": request.server, "network": _NO_ADDRESS}
    return [caller, service]


def _entities(entry: Mapping[str, Any]) -> list[Json]:
    kinds = hl7("audit-entity-type")
    other = coding(kinds, "4", "Other")
    entities: list[Json] = []
    if "id" in entry:
        data = {"type": coding(kinds, "2", "System Object"), "role": coding(hl7("object-role"), "3", "Report")}
        entities.append({"what": {"identifier": identifier("prediction", entry["id"])}, **data})
    if "model" in entry:
        entities.append({"what": {"identifier": identifier("bundle-sha256", entry["model"])}, "type": other})
    details = [
        {"type": name, "valueString": value if isinstance(value, str) else json.dumps(value)}
        for name, value in entry.items()
        if name not in _PLACED and value not in (None, "")  # FHIR has no empty texts
    ]
    chain = {"what": {"identifier": identifier("audit-entry", f"{entry['seq']}:{entry['sha256']}")}, "type": other}
    return [*entities, chain | ({"detail": details} if details else {})]
