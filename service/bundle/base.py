"""Base types of the manifest, and the error of a bundle that must not be served."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]

# The bounds of an interval and its value come from different formulas.
_ROUNDING = 1e-9


class BundleError(ValueError):
    """The folder is not a bundle this software may serve; the text says what is wrong with which file."""


class Record(BaseModel):
    """A part of the manifest; immutable, without unknown fields, its numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(Record):
    """A measured proportion with its 95 % confidence interval."""

    value: Probability = Field(description="as measured, 0 to 1")
    low: Probability = Field(description="lower bound")
    high: Probability = Field(description="upper bound")

    @model_validator(mode="after")
    def _holds_its_value(self) -> Interval:
        if not self.low - _ROUNDING <= self.value <= self.high + _ROUNDING:
            raise ValueError("the value is outside its interval")
        return self
