"""What reports say of an answer."""

from __future__ import annotations

import pytest

from service.bundle import DiagnosisClass
from service.prediction.words import advice, conclusion
from tests.service.fhir.predictions import CLASSES, abstained


def malignant(name: str) -> DiagnosisClass:
    return DiagnosisClass(name=name, label=name.title(), malignant=True)


@pytest.mark.parametrize(
    ("more", "expected"),
    [([], "No referral advised for melanoma"), ([malignant("basal_cell_carcinoma")], "No referral advised")],
)
def test_what_alone_was_judged_is_named(more: list[DiagnosisClass], expected: str) -> None:
    assert advice(False, [*CLASSES, *more]) == expected
    assert advice(True, [*CLASSES, *more]) == "Referral advised"


def test_without_an_assessment_nothing_is_ruled_out() -> None:
    assert "nothing is ruled out" in conclusion(abstained(), CLASSES)
