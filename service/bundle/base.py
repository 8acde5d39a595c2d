"""What records of measured figures are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Record(BaseModel):
    """A part of the manifest: nothing unknown in it, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(Record):
    """A measured proportion with its 95 % confidence interval."""

    value: Probability
    low: Probability
    high: Probability
