"""Transactions before judges that are not ours: a validator of FHIR R4, and a server that carries them out."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.fhir.transaction import transaction
from tests.clients.conftest import program
from tests.page.browsing import Server
from tests.service.fhir.logs import events_of, used_log
from tests.service.fhir.predictions import CLASSES, abstained, prediction, resource_of
from tests.service.imaging.dicoms import of_jpeg
from tests.service.tiny_bundle import dark_square, picture_bytes, write_tiny_bundle

pytestmark = pytest.mark.xdist_group("clients")

Json = dict[str, Any]
KINDS = {"Device", "DocumentReference", "Observation", "DiagnosticReport", "Provenance", "ImagingStudy"}
ABSTAINED = Image.new("RGB", (256, 256), (4, 2, 2))


def faults(*resources: Json) -> list[list[str]]:
    """What the validator finds in each resource: errors, and members that FHIR does not know."""
    command = program("fhir_validate.cjs", "fhir")
    lines = "".join(f"{json.dumps(resource)}\n" for resource in resources)
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def fhir_server() -> Iterator[httpx.Client]:
    """An empty FHIR server."""
    command = program("fhir_server.cjs", "@medplum/core", "@medplum/fhir-router")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60) as client:
                yield client
        finally:
            process.kill()


def photograph(image: Image.Image, instance: str) -> bytes:
    """A DICOM file; all have one study."""
    elements = {"Modality": "DMS", "SeriesInstanceUID": "2.25.7", "SOPInstanceUID": instance}
    return of_jpeg(picture_bytes(image, "JPEG"), **elements)


def predicted(server: Server, key: str, data: bytes, **query: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/fhir+json"}
    form = {"image": data}
    sent = httpx.post(f"{server.url}/v1/predictions", files=form, headers=headers, params=query, timeout=60)
    return sent.raise_for_status()


def kept(fhir_server: httpx.Client) -> dict[str, list[Json]]:
    """The resources on the server, by type, without what the server adds."""
    found: dict[str, list[Json]] = {}
    for kind in sorted(KINDS):
        entries = fhir_server.get(f"/{kind}").raise_for_status().json().get("entry", [])
        found[kind] = [entry["resource"] for entry in entries]
        for resource in found[kind]:
            for added in ("versionId", "lastUpdated"):
                del resource["meta"][added]
    return found


def test_the_validator_finds_two_planted_faults_and_none_of_ours(server: Server, key: str) -> None:
    sent = [picture_bytes(dark_square()), picture_bytes(ABSTAINED), photograph(dark_square(), "2.25.8")]
    ours = [predicted(server, key, data, subject="Patient/123").json() for data in sent]
    ours.append(predicted(server, key, sent[-1]).json())
    reasons = ["not_sure", "near_threshold", "several_lesions"]
    ours += [transaction(of, CLASSES, "# Card\n") for of in (prediction(reasons=reasons), abstained())]
    schemas = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    ours.append(schemas["FhirTransaction"]["examples"][0])
    assert faults(*ours) == [[]] * 7
    planted = copy.deepcopy(ours[0])
    resource_of(planted, "Observation")["status"] = "nonsense"
    resource_of(planted, "DiagnosticReport")["imagingstudy"] = 1
    (found,) = faults(planted)
    assert len(found) == 2
    assert "nonsense" in found[0]
    assert "imagingstudy" in found[1]


def test_a_server_that_gets_it_twice_has_one_of_each(server: Server, key: str, fhir_server: httpx.Client) -> None:
    body = predicted(server, key, photograph(dark_square(), "2.25.8"), subject="Patient/123")
    states = []
    for _ in range(2):
        post(fhir_server, body)
        states.append(kept(fhir_server))
    assert states[0] == states[1]
    assert {kind: len(resources) for kind, resources in states[0].items()} == dict.fromkeys(KINDS, 1)
    (report,), (observation,) = states[0]["DiagnosticReport"], states[0]["Observation"]
    assert report["result"] == [{"reference": f"Observation/{observation['id']}"}]
    assert report["subject"] == observation["subject"] == {"reference": "Patient/123"}
    assert fhir_server.get(f"/{observation['device']['reference']}").status_code == 200
    (study,) = states[0]["ImagingStudy"]
    assert report["imagingStudy"] == [observation["derivedFrom"][0]] == [{"reference": f"ImagingStudy/{study['id']}"}]
    assert observation == _referring(resource_of(body.json(), "Observation"), body.json(), study)
    # Another image of the study: its own results, of the same model; the study is the server's, and stays as it is.
    more = predicted(server, key, photograph(ABSTAINED, "2.25.9"), subject="Patient/123")
    post(fhir_server, more)
    twice = {"Observation", "DiagnosticReport", "Provenance"}
    state = kept(fhir_server)
    assert {kind: len(found) for kind, found in state.items()} == {k: 1 + (k in twice) for k in KINDS}
    assert state["ImagingStudy"] == [study]
    assert [each["imagingStudy"] for each in state["DiagnosticReport"]] == [report["imagingStudy"]] * 2
    # An image that is no DICOM file has no study.
    post(fhir_server, predicted(server, key, picture_bytes(dark_square()), subject="Patient/123"))
    assert [len(kept(fhir_server)[kind]) for kind in ("ImagingStudy", "Observation")] == [1, 3]


def post(fhir_server: httpx.Client, body: httpx.Response) -> None:
    done = fhir_server.post("/", content=body.content, headers={"Content-Type": body.headers["content-type"]})
    assert done.json()["type"] == "transaction-response", done.text
    assert {entry["response"]["status"] for entry in done.json()["entry"]} <= {"200", "201"}


def test_the_validator_finds_nothing_in_an_audit_log(tmp_path: Path) -> None:
    events = events_of(used_log(write_tiny_bundle(tmp_path / "tiny"), tmp_path))
    assert faults(*events) == [[]] * len(events)
    (found,) = faults(events[0] | {"outcome": "fine"})
    assert found


def _referring(resource: Json, bundle: Json, study: Json) -> Json:
    """The resource with references to the server's resources, of which one is the ``study``, for those to entries."""
    text = json.dumps(resource)
    for entry in bundle["entry"]:
        address = entry["request"]["url"]
        text = text.replace(entry["fullUrl"], f"ImagingStudy/{study['id']}" if address == "ImagingStudy" else address)
    replaced: Json = json.loads(text)
    return replaced
