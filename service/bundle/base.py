"""Base types of the manifest."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Record(BaseModel):
    """A part of the manifest; immutable, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(Record):
    """A measured proportion with its 95 % confidence interval."""

    value: Probability
    low: Probability
    high: Probability
