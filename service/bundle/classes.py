"""The classes of a model: what it tells apart, and what each means for a referral."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from service.bundle.base import Record

Role = Literal["malignant", "benign", "unknown"]


class DiagnosisClass(Record):
    """One output class, in the order of the probabilities. Of ``role`` and ``malignant``, one is enough."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["melanoma"], description="its name for programs")
    label: str = Field(min_length=1, examples=["Melanoma"], description="its name for people")
    malignant: bool = Field(False, description="whether its probability counts for a referral")
    role: Role = Field(
        "benign",
        examples=["malignant"],
        description="unknown: lesions of it may be malignant or not, so a referral is advised where it is the most "
        "probable class; since schema 7",
    )
    snomed_ct: str | None = Field(
        None, pattern=r"^[0-9]{6,18}$", examples=["93655004"], description="SNOMED CT concept; since schema 6"
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, fields: Any) -> Any:
        """Each of ``role`` and ``malignant`` from the other. Raises ``ValueError`` for a class without both."""
        if not isinstance(fields, dict):
            return fields
        if "role" not in fields and "malignant" not in fields:
            raise ValueError("the class has no role: malignant, benign or unknown")
        malignant = fields.get("malignant", fields.get("role") == "malignant")
        return {"role": "malignant" if malignant else "benign", **fields, "malignant": malignant}

    @model_validator(mode="after")
    def _is_consistent(self) -> DiagnosisClass:
        if self.malignant != (self.role == "malignant"):
            raise ValueError(f"{self.name} has the role {self.role}, but malignant = {str(self.malignant).lower()}")
        return self
