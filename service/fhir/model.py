"""What a transaction says about the model: Device and model card."""

from __future__ import annotations

from base64 import b64encode

from service.fhir.coding import Json, concept, identifier, transparency
from service.prediction.schemas import ModelBody

_INPUTS = transparency("CodeSystem/AIinputsCS")
# The guide's profiles fix this concept as it is: without display and text.
ARTIFICIAL_INTELLIGENCE = concept(transparency("CodeSystem/AIdeviceTypeCS"), "Artificial-Intelligence")


def device(model: ModelBody, notice: str) -> Json:
    """The model; precision and processor are the answer's and not the model's, so they are not here."""
    return {
        "resourceType": "Device",
        "meta": {"profile": [transparency("StructureDefinition/AI-Device")]},
        "identifier": [identifier("bundle-sha256", model.sha256)],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": ARTIFICIAL_INTELLIGENCE,
        "version": [{"value": model.version}],
        "safety": [{"text": notice}],
    }


def model_card(model: ModelBody, card: str, device: Json) -> Json:
    """The model card (Markdown) of the model that the reference ``device`` names."""
    data = b64encode(card.encode("utf-8")).decode("ascii")
    return {
        "resourceType": "DocumentReference",
        "meta": {"profile": [transparency("StructureDefinition/AI-ModelCard")]},
        "identifier": [identifier("model-card", model.sha256)],
        "status": "current",
        "type": concept(_INPUTS, "AIModelCard"),
        "category": [concept(_INPUTS, "AIModelCardMarkdownFormat", "Markdown Format")],
        "subject": device,
        "content": [
            {
                "attachment": {
                    "contentType": "text/markdown",
                    "data": data,
                    "title": f"Model card of {model.name} {model.version}",
                }
            }
        ],
    }
