"""A prediction as a FHIR R4 transaction; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from service.bundle import DiagnosisClass
from service.fhir.coding import Json, instant, stable_id
from service.fhir.model import device, model_card
from service.fhir.results import observation, provenance, report
from service.prediction.schemas import Prediction
from service.prediction.views import without_unfit_figures


def transaction(
    prediction: Prediction, classes: Sequence[DiagnosisClass], card: str, *, subject: str | None = None
) -> Json:
    """The Bundle that writes a prediction to a FHIR server: model, model card, result, report and provenance.

    ``classes`` and ``card`` (Markdown) are those of the prediction's model, ``subject`` the reference of its patient.
    Every resource is PUT under an id that follows from the prediction or the model: sent again it changes nothing,
    and sent at another operating point or prevalence it replaces what was sent before. No figure without advice.
    """
    prediction = without_unfit_figures(prediction)
    of_model, of_prediction = prediction.model.sha256, prediction.id
    ids = {
        "device": stable_id("device", of_model),
        "model-card": stable_id("model-card", of_model),
        "observation": stable_id("observation", of_prediction),
        "report": stable_id("report", of_prediction),
        "provenance": stable_id("provenance", of_prediction),
    }
    refer_to = {name: {"reference": id.urn} for name, id in ids.items()}
    about = {} if subject is None else {"subject": {"reference": subject}}
    results = [refer_to["observation"], refer_to["report"]]
    resources = {
        "device": device(prediction.model, prediction.notice),
        "model-card": model_card(prediction.model, card, refer_to["device"]),
        "observation": observation(prediction, classes, about, refer_to["device"]),
        "report": report(prediction, classes, about, refer_to["observation"]),
        "provenance": provenance(prediction, results, refer_to["device"], refer_to["model-card"]),
    }
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": instant(prediction.created_at),
        "entry": [_put(ids[name], resource) for name, resource in resources.items()],
    }


def _put(id: UUID, resource: Json) -> Json:
    kind = resource["resourceType"]
    return {
        "fullUrl": id.urn,
        "resource": {"resourceType": kind, "id": str(id), **resource},
        "request": {"method": "PUT", "url": f"{kind}/{id}"},
    }
