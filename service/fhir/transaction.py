"""A prediction as a FHIR R4 transaction; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from service.bundle import DiagnosisClass
from service.fhir.coding import Json, instant, stable_id
from service.fhir.model import device, model_card
from service.fhir.results import image, observation, provenance, report
from service.fhir.study import Study, imaging_study, instance_reference, patient, study_reference, study_search
from service.prediction.schemas import Prediction
from service.prediction.views import without_unfit_figures


def transaction(
    prediction: Prediction,
    classes: Sequence[DiagnosisClass],
    card: str,
    *,
    subject: str | None = None,
    study: Study | None = None,
) -> Json:
    """The Bundle that writes a prediction to a FHIR server: model, model card, result, report and provenance.

    ``classes`` and ``card`` (Markdown) are those of the prediction's model. ``subject`` is the reference of its
    patient, ``study`` the DICOM study of its image, whose PatientID stands in for a missing ``subject``.

    Every resource of ours is PUT under an id that follows from the prediction or the model: sent again it changes
    nothing, and sent at another operating point or prevalence it replaces what was sent before. The ImagingStudy is
    created unless the server has one of this study, which is then left as it is. No figure without advice.
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
    of_patient = patient(subject, study)
    about = {} if of_patient is None else {"subject": of_patient}
    created, studies, sources = _of_study(study, of_patient)
    sources = [*sources, image(prediction)]
    results = [refer_to["observation"], refer_to["report"]]
    resources = {
        "device": device(prediction.model, prediction.notice),
        "model-card": model_card(prediction.model, card, refer_to["device"]),
        "observation": observation(prediction, classes, about, refer_to["device"], sources),
        "report": report(prediction, classes, about, refer_to["observation"], studies),
        "provenance": provenance(prediction, results, refer_to["device"], refer_to["model-card"], sources),
    }
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": instant(prediction.created_at),
        "entry": [*created, *(_put(ids[name], resource) for name, resource in resources.items())],
    }


def _of_study(study: Study | None, of_patient: Json | None) -> tuple[list[Json], list[Json], list[Json]]:
    """The entries about a study, the references to it, and those to it and to its image.

    FHIR has no ImagingStudy without a patient and the modality: then the study is referred to by its UID alone.
    """
    if study is None:
        return [], [], []
    if of_patient is None or study.modality is None:
        reference, entries = study_reference(study), []
    else:
        id = stable_id("imaging-study", study.uid)
        reference = {"reference": id.urn}
        entries = [_create(id, imaging_study(study, study.modality, of_patient), study_search(study))]
    return entries, [reference], [reference, instance_reference(study)]


def _create(id: UUID, resource: Json, search: str) -> Json:
    """An entry that creates a resource, unless the server finds one; references to ``id`` mean that one then."""
    return {
        "fullUrl": id.urn,
        "resource": resource,
        "request": {"method": "POST", "url": resource["resourceType"], "ifNoneExist": search},
    }


def _put(id: UUID, resource: Json) -> Json:
    kind = resource["resourceType"]
    return {
        "fullUrl": id.urn,
        "resource": {"resourceType": kind, "id": str(id), **resource},
        "request": {"method": "PUT", "url": f"{kind}/{id}"},
    }
