"""The transaction in the OpenAPI schema: its parts, and an example that the service's own functions make."""

from __future__ import annotations

from typing import Any

from service.bundle import DiagnosisClass
from service.fhir.study import Study
from service.fhir.transaction import transaction
from service.prediction.schemas import EXAMPLE, Prediction

_CLASSES = (
    DiagnosisClass(name="melanoma", label="Melanoma", malignant=True, snomed_ct="93655004"),
    DiagnosisClass(name="seborrheic_keratosis", label="Seborrheic keratosis", malignant=False, snomed_ct="25499005"),
    DiagnosisClass(name="nevus", label="Nevus", malignant=False, snomed_ct="400096001"),
)
_PREDICTION = Prediction.model_validate(EXAMPLE)
_STUDY = Study("2.25.71", "2.25.72", "2.25.73", sop_class="1.2.840.10008.5.1.4.1.1.77.1.7", modality="DMS")

SCHEMA: dict[str, Any] = {
    "title": "FhirTransaction",
    "type": "object",
    "description": "A prediction as a FHIR R4 transaction: POST it to the address of a FHIR server. Device (the "
    "model), DocumentReference (its card), Observation (advice, risk, threshold, probabilities, reasons), "
    "DiagnosticReport and Provenance, each by PUT; of a DICOM file also the ImagingStudy, unless the server has it. "
    "Sent again it changes nothing. Without advice it has no number.",
    "required": ["resourceType", "type", "timestamp", "entry"],
    "properties": {
        "resourceType": {"type": "string", "enum": ["Bundle"], "description": "of FHIR R4"},
        "type": {"type": "string", "enum": ["transaction"], "description": "all of its entries are written, or none"},
        "timestamp": {"type": "string", "format": "date-time", "description": "of the prediction, UTC"},
        "entry": {
            "type": "array",
            "items": {"type": "object", "additionalProperties": True},
            "description": "resources with their requests, as FHIR describes them",
        },
    },
    "examples": [
        transaction(_PREDICTION, _CLASSES, "# cin-isic2017\n", subject="Patient/123", study=_STUDY),
    ],
}
