"""What the ledger holds: answers and feedback, in closed vocabularies. No image, no name, no free text."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, WithJsonSchema

from service.bundle.base import Probability, Record

# Letters and signs before a digit: most names have none, and a cell that begins so is no formula. TrackingUIDs fit.
LABEL = r"^([A-Za-z][A-Za-z._-]{0,62})?[0-9][A-Za-z0-9._-]{0,63}$"
LABEL_LENGTH = 64
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST_DAY = date(1970, 1, 1)

Opinion = Literal["agree", "disagree", "unsure"]
RecallMonths = Literal[0, 3, 6, 12]

# Diagnoses that a clinician may name besides the model's classes, and whether they are malignant.
OTHER_DIAGNOSES = {
    "basal_cell_carcinoma": True,
    "squamous_cell_carcinoma": True,
    "other_malignant": True,
    "dermatofibroma": False,
    "vascular_lesion": False,
    "other_benign": False,
}


def _to_day(value: Any) -> date:
    """A date from its ISO form alone. Raises ValueError for any other, and for one before 1970 or after tomorrow."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        value = date.fromisoformat(value)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("not a date as in 2026-01-31")
    # Where it is tomorrow already, at UTC + 14 hours.
    if not _FIRST_DAY <= value <= datetime.now(UTC).date() + timedelta(days=1):
        raise ValueError("a date before 1970, or in the future")
    return value


Label = Annotated[str, Field(pattern=LABEL, max_length=LABEL_LENGTH)]
Day = Annotated[date, BeforeValidator(_to_day), WithJsonSchema({"type": "string", "format": "date"})]


class FollowUp(Record):
    """Which lesion an image shows, and at which visit it was taken."""

    lesion: Label = Field(description="the client's own label; opaque: never a name")
    visit: Day = Field(description="date of the visit; the images of one date are averaged")


class Repeats(Record):
    """How far the answers to two images of one lesion differ, as measured on the model."""

    median_change: Probability = Field(description="of the malignant probability, 0 to 1")
    percentile_95_change: Probability = Field(description="of the malignant probability, 0 to 1; less is no change")


class Extent(Record):
    """The largest region that the network outlined as lesion."""

    along: float = Field(ge=0, description="longest diameter, px of the upright image")
    across: float = Field(ge=0, description="width across it, px of the upright image")


class Entry(Record):
    """What every entry has: whose it is, and which prediction it is about."""

    at: AwareDatetime
    client: str
    id: str = Field(pattern="^[0-9a-f]{32}$")


class Answer(Entry):
    """The answer to one image. Without advice it has no figures."""

    what: Literal["answer"] = "answer"
    lesion: Label | None
    visit: Day | None
    image_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    model: str
    model_version: str
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    variant: str
    operating_point: str
    threshold: Probability
    refer: bool | None
    malignant_probability: Probability | None
    diagnosis: str | None
    reasons: list[str]
    abstained_because: list[str]
    extent: Extent | None
    millimetres_per_pixel: float | None = Field(gt=0)
    repeatability: Repeats | None


class Feedback(Entry):
    """What a clinician said of a prediction. Roles of diagnoses are kept, so that no bundle is needed to count them."""

    what: Literal["feedback"] = "feedback"
    opinion: Opinion | None
    diagnosis: str | None
    diagnosis_malignant: bool | None
    histology: str | None
    histology_malignant: bool | None
    date: Day
    recall_months: RecallMonths | None
    millimetres_per_pixel: float | None = Field(gt=0)

    @property
    def answers(self) -> bool:
        """Whether it says what to think or to do, and not the image's scale alone."""
        return any(said is not None for said in (self.opinion, self.diagnosis, self.histology, self.recall_months))
