"""What a transaction says about the image: Observation, DiagnosticReport and Provenance."""

from __future__ import annotations

from collections.abc import Sequence

from service.bundle import DiagnosisClass
from service.fhir.coding import (
    AIAST,
    DICOM,
    SNOMED_CT,
    Json,
    concept,
    hl7,
    identifier,
    instant,
    ours,
    percent,
    transparency,
)
from service.fhir.model import ARTIFICIAL_INTELLIGENCE
from service.prediction.decision import REASONS, Reason
from service.prediction.schemas import DecisionBody, Prediction
from service.prediction.words import advice, conclusion, no_assessment, risk_name


def observation(
    prediction: Prediction, classes: Sequence[DiagnosisClass], subject: Json, device: Json, sources: Sequence[Json]
) -> Json:
    """The advice as the value; risk, threshold, probabilities and reasons for caution as components.

    Without advice: the reasons, and no number. ``sources`` are references to what was judged.
    """
    decision, model = prediction.decision, prediction.model
    if decision.refer is None:
        absent = concept(hl7("data-absent-reason"), "not-performed", "Not Performed", text=no_assessment(decision))
        value: Json = {"dataAbsentReason": absent}
        figures: list[Json] = []
    else:
        code = "refer" if decision.refer else "no-referral"
        value = {"valueCodeableConcept": concept(ours("advice"), code, text=advice(decision.refer, classes))}
        figures = _figures(prediction, classes)
    components = [*figures, *(_reason(reason, decision) for reason in decision.reasons)]
    return {
        "resourceType": "Observation",
        "meta": {"security": [AIAST]},
        "identifier": [identifier("prediction", prediction.id)],
        "status": "preliminary",
        "category": [concept(hl7("observation-category"), "imaging", "Imaging")],
        "code": concept(
            ours("observation"), "referral-advice", text="Referral advice from one dermoscopy image, by AI"
        ),
        **subject,
        "issued": instant(prediction.created_at),
        **value,
        "note": [{"text": prediction.notice}],
        "method": {"text": f"{model.name} {model.version}, {model.variant} on {model.provider}"},
        "device": device,
        "derivedFrom": list(sources),
    } | ({"component": components} if components else {})


def report(
    prediction: Prediction, classes: Sequence[DiagnosisClass], subject: Json, observation: Json, studies: Sequence[Json]
) -> Json:
    """A preliminary report. It has no ``conclusionCode``: a most probable class is no diagnosis."""
    return {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [AIAST]},
        "identifier": [identifier("report", prediction.id)],
        "status": "preliminary",
        "category": [concept(hl7("v2-0074"), "IMG", "Diagnostic Imaging")],
        "code": concept(SNOMED_CT, "446078004", text="Dermoscopy, assessment by AI"),
        **subject,
        "issued": instant(prediction.created_at),
        "result": [observation],
        "conclusion": conclusion(prediction, classes),
    } | ({"imagingStudy": list(studies)} if studies else {})


def provenance(
    prediction: Prediction, results: Sequence[Json], device: Json, model_card: Json, sources: Sequence[Json]
) -> Json:
    """That the model made the ``results`` from the ``sources``."""
    at = instant(prediction.created_at)
    return {
        "resourceType": "Provenance",
        "meta": {"profile": [transparency("StructureDefinition/AI-Provenance")]},
        "target": list(results),
        "occurredDateTime": at,
        "recorded": at,
        "reason": [{"coding": [AIAST]}],
        "activity": concept(hl7("v3-DataOperation"), "CREATE", "create"),
        "agent": [
            {
                "type": concept(hl7("provenance-participant-type"), "author", "Author"),
                "role": [ARTIFICIAL_INTELLIGENCE],
                "who": device,
            }
        ],
        "entity": [
            *({"role": "source", "what": source} for source in sources),
            {"role": "derivation", "what": model_card},
        ],
    }


def _figures(prediction: Prediction, classes: Sequence[DiagnosisClass]) -> list[Json]:
    decision = prediction.decision
    assert decision.malignant_probability is not None
    assert prediction.probabilities is not None
    risk = concept(ours("observation"), "risk", text=risk_name(classes))
    threshold = concept(
        DICOM,
        "122411",
        "Threshold Value",
        text="Threshold: a referral is advised from this risk on",
    )
    figures = [(risk, decision.malignant_probability), (threshold, decision.threshold)]
    if decision.prevalence is not None:
        prevalence = concept(
            ours("observation"), "prevalence", text="Share of malignant lesions for which risk and threshold hold"
        )
        figures.append((prevalence, decision.prevalence))
    figures += [(_probability_of(each), prediction.probabilities[each.name]) for each in classes]
    return [{"code": code, "valueQuantity": percent(share)} for code, share in figures]


def _probability_of(diagnosis: DiagnosisClass) -> Json:
    """The label as text, not as the coding's display: that is for the terminology's own words."""
    text = f"Probability of {diagnosis.label}"
    return {"text": text} if diagnosis.snomed_ct is None else concept(SNOMED_CT, diagnosis.snomed_ct, text=text)


def _reason(reason: Reason, decision: DecisionBody) -> Json:
    against = reason in decision.abstained_because
    return {
        "code": concept(
            ours("observation"), "reason", text="Reason for " + ("no assessment" if against else "caution")
        ),
        "valueCodeableConcept": concept(ours("reason"), reason, text=REASONS[reason]),
    }


def image(prediction: Prediction) -> Json:
    """The image that was sent, by its digest: it is not kept, so there is nothing to refer to."""
    return {
        "type": "Media",
        "identifier": identifier("image-sha256", prediction.image.sha256),
        "display": "the dermoscopy image that was sent",
    }
