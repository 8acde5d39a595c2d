"""The feedback report against figures worked out by hand, and against SciPy."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from service.bundle.base import Interval
from service.ledger.entries import Answer, Feedback
from service.ledger.report import feedback_report, wilson
from tests.service.ledger.ledgers import answer, feedback

# Risk, histology, and how many of each: 40 answers at a threshold of 0.4.
FORTY = ((0.6, "melanoma", 8), (0.05, "melanoma", 2), (0.5, "nevus", 9), (0.15, "nevus", 21))


def forty(**changes: str) -> list[Answer | Feedback]:
    """The answers, then their histology."""
    made = [(answer(risk=risk, **changes), truth) for risk, truth, num in FORTY for _ in range(num)]
    return [each for each, _ in made] + [feedback(each, histology=truth) for each, truth in made]


def is_near(found: Interval | None, value: float, low: float, high: float) -> bool:
    return found is not None and (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=2e-6)


def test_forty_answers_by_hand() -> None:
    """Intervals: p, n -> (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.959964."""
    report = feedback_report(forty())
    by_histology, with_diagnoses = report.models
    assert (by_histology.truth, with_diagnoses.truth) == ("histology", "histology or diagnosis")
    assert by_histology.model_dump(exclude={"truth"}) == with_diagnoses.model_dump(exclude={"truth"})
    record = by_histology
    assert (record.model, record.operating_point) == ("net 1.0", "balanced")
    assert (record.num_answers, record.num_malignant, record.num_without_advice) == (40, 10, 0)
    assert is_near(record.sensitivity, 0.8, 0.490162, 0.943318)  # 8 of 10
    assert is_near(record.specificity, 0.7, 0.521243, 0.833353)  # 21 of 30
    assert record.mean_risk == pytest.approx(0.31375)  # (4.8 + 0.1 + 4.5 + 3.15) / 40
    assert is_near(record.malignant, 0.25, 0.141871, 0.401939)  # 10 of 40
    # (8 x 0.16 + 2 x 0.9025 + 9 x 0.25 + 21 x 0.0225) / 40, and 1.959964 standard errors of 0.0316609.
    assert (record.brier, record.brier_low, record.brier_high) == pytest.approx(
        (0.1451875, 0.083133, 0.207242), abs=2e-6
    )


def test_calibration_by_hand() -> None:
    lowest, low, middle, high, highest = feedback_report(forty()).models[0].groups
    assert (lowest.num_answers, lowest.mean_risk) == (2, 0.05)
    assert is_near(lowest.malignant, 1.0, 0.342380, 1.0)  # 2 of 2: n / (n + z^2)
    assert low.num_answers == 21
    assert low.mean_risk == pytest.approx(0.15)
    assert is_near(low.malignant, 0.0, 0.0, 0.154639)  # 0 of 21: z^2 / (n + z^2)
    assert (middle.num_answers, middle.mean_risk, middle.malignant) == (0, None, None)
    assert high.num_answers == 17
    assert high.mean_risk == pytest.approx(9.3 / 17)
    assert is_near(high.malignant, 8 / 17, 0.261651, 0.690367)
    assert highest.num_answers == 0


def test_every_answer_is_in_one_group() -> None:
    made = [answer(risk=risk) for risk in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)]
    record = feedback_report([*made, *(feedback(each, histology="nevus") for each in made)]).models[0]
    assert [group.num_answers for group in record.groups] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (1, 1), (3, 7), (50, 600), (599, 600)])
def test_intervals_are_those_of_another_library(successes: int, total: int) -> None:
    expected = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    assert is_near(wilson(successes, total), successes / total, expected.low, expected.high)


def test_models_are_counted_apart() -> None:
    other = answer(risk=0.9, version="2.0")
    records = feedback_report([*forty(), other, feedback(other, histology="nevus")]).models
    by_histology = {each.model: each for each in records if each.truth == "histology"}
    assert {name: each.num_answers for name, each in by_histology.items()} == {"net 1.0": 40, "net 2.0": 1}
    assert by_histology["net 2.0"].sensitivity is None
    assert by_histology["net 2.0"].specificity == wilson(0, 1)


def test_histology_counts_before_a_diagnosis_and_the_last_word_before_the_first() -> None:
    image = answer(risk=0.9)
    said = [
        feedback(image, histology="nevus"),
        feedback(image, histology="melanoma"),
        feedback(image, diagnosis="nevus"),
    ]
    for record in feedback_report([image, *said]).models:
        assert (record.num_malignant, record.num_answers) == (1, 1)
    first, second = (feedback(image, opinion=opinion) for opinion in ("agree", "disagree"))
    assert feedback_report([image, first, second]).opinions == {"disagree": 1}


def test_a_diagnosis_alone_is_no_histology() -> None:
    image = answer(risk=0.9)
    (record,) = feedback_report([image, feedback(image, diagnosis="melanoma")]).models
    assert record.truth == "histology or diagnosis"


def test_without_advice_an_answer_is_counted_apart() -> None:
    entries = [*forty(), *(blurred := [answer(risk=None), answer(risk=None)])]
    record = feedback_report([*entries, *(feedback(each, histology="melanoma") for each in blurred)]).models[0]
    assert (record.num_answers, record.num_malignant, record.num_without_advice) == (40, 10, 2)
    assert feedback_report([blurred[0], feedback(blurred[0], histology="melanoma")]).models == []


def test_nothing_was_said() -> None:
    report = feedback_report([answer()])
    assert (report.num_answers, report.num_with_feedback, report.opinions, report.models) == (1, 0, {}, [])
