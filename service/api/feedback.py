"""What a clinician says of a prediction, in closed vocabularies without free text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from service.access.keys import Caller
from service.bundle import Manifest
from service.ledger.entries import OTHER_DIAGNOSES, Day, Feedback, Opinion, RecallMonths
from service.ledger.timeline import Said
from service.prediction.schemas import COMPONENT, Body
from service.problems import MALFORMED, ServiceError

# As in the scales of the page: an image is 2 to 100 mm wide, and has 32 pixels at least.
_WIDEST_PIXEL = 4.0


ClinicalDiagnosis = Annotated[str, WithJsonSchema({"type": "string", COMPONENT: "ClinicalDiagnosis"})]


class FeedbackRequest(Body):
    """What a clinician says; one of the fields at least. What was said before stays, and the last word counts."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "examples": [{"opinion": "agree"}]})

    opinion: Opinion | None = Field(None, description="on the advice to refer or not, or that there was none")
    diagnosis: ClinicalDiagnosis | None = Field(None, description="the clinician's diagnosis")
    histology: ClinicalDiagnosis | None = Field(None, description="the pathologist's diagnosis")
    date: Day | None = Field(None, description="of the opinion or the histology; default: today (UTC)")
    recall_months: RecallMonths | None = Field(
        None, description="months after the last visit at which the lesion is due again; 0: no recall"
    )
    millimetres_per_pixel: float | None = Field(
        None,
        gt=0,
        le=_WIDEST_PIXEL,
        description="side of a pixel of the upright image, mm, as measured on a ruler in it; counts before what a "
        "file states",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(value is None for name, value in self if name != "date"):
            raise ValueError("it says nothing: send an opinion, a diagnosis, histology, recall_months or a scale")
        return self


class FeedbackReceipt(Said):
    """What was written down."""

    id: str = Field(description="of the prediction")


def entry_of(said: FeedbackRequest, caller: Caller, id: str, manifest: Manifest) -> Feedback:
    """The ledger's entry. Raises the 400 of a diagnosis that is not among those to choose from."""
    roles = OTHER_DIAGNOSES | {each.name: each.malignant for each in manifest.classes}
    if not {said.diagnosis, said.histology} - {None} <= roles.keys():
        detail = f"diagnosis or histology: not one of {', '.join(roles)}"
        raise ServiceError(MALFORMED, detail)
    now = datetime.now(UTC)
    return Feedback(
        at=now,
        client=caller.client,
        id=id,
        opinion=said.opinion,
        diagnosis=said.diagnosis,
        diagnosis_malignant=None if said.diagnosis is None else roles[said.diagnosis],
        histology=said.histology,
        histology_malignant=None if said.histology is None else roles[said.histology],
        date=said.date or now.date(),
        recall_months=said.recall_months,
        millimetres_per_pixel=said.millimetres_per_pixel,
    )


def receipt_of(entry: Feedback) -> FeedbackReceipt:
    """What the client gets back."""
    return FeedbackReceipt(**{name: getattr(entry, name) for name in FeedbackReceipt.model_fields})
