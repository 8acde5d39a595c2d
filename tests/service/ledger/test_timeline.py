"""A lesion over its visits: averages, changes beside their repeatability, sizes where there is a scale."""

from __future__ import annotations

import pytest

from service.ledger.entries import Answer, Feedback
from service.ledger.timeline import Timeline, Verdict, timeline, verdict_of
from tests.service.ledger.ledgers import REPEATS, answer, feedback


def seen(*entries: Answer | Feedback) -> Timeline:
    return timeline("L-1", entries)


def test_the_images_of_a_visit_are_averaged_and_those_without_assessment_are_not() -> None:
    made = seen(
        answer("L-1", "2026-04-01", 0.5),
        answer("L-1", "2026-01-01", 0.1),
        answer("L-1", "2026-01-01", 0.3),
        answer("L-1", "2026-01-01", None),
    )
    first, second = made.visits
    assert (str(first.visit), first.num_images, first.num_averaged) == ("2026-01-01", 3, 2)
    assert first.malignant_probability == pytest.approx(0.2)
    assert first.changes == []
    assert second.malignant_probability == 0.5
    assert [image.malignant_probability for image in first.images] == [0.1, 0.3, None]


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.0, "none"), (0.19, "none"), (-0.19, "none"), (0.2, "higher"), (-0.2, "lower"), (0.6, "higher")],
)
def test_less_than_two_images_differ_by_is_no_change(difference: float, verdict: Verdict) -> None:
    assert verdict_of(difference, REPEATS) == verdict
    assert verdict_of(difference, None) == "not_measured"


def test_a_change_stands_beside_what_two_images_differ_by() -> None:
    made = seen(answer("L-1", "2026-01-01", 0.10), answer("L-1", "2026-04-01", 0.25))
    (change,) = made.visits[1].changes
    assert (change.verdict, change.malignant_probability, change.repeatability) == ("none", 0.15, REPEATS)


def test_a_slow_change_shows_against_the_first_visit() -> None:
    made = seen(*(answer("L-1", f"2026-0{month}-01", 0.05 + 0.08 * month) for month in range(1, 5)))
    last, first = made.visits[3].changes
    assert (str(last.since), last.verdict) == ("2026-03-01", "none")
    assert (str(first.since), first.verdict) == ("2026-01-01", "higher")
    assert first.malignant_probability == pytest.approx(0.24)


def test_a_visit_without_assessment_is_passed_over() -> None:
    entries = (answer("L-1", day, risk) for day, risk in zip(DAYS, (0.1, None, 0.9), strict=True))
    _, middle, last = seen(*entries).visits
    assert (middle.malignant_probability, middle.changes) == (None, [])
    assert [(str(change.since), change.verdict) for change in last.changes] == [(DAYS[0], "higher")]


DAYS = ("2026-01-01", "2026-02-01", "2026-03-01")


def test_two_models_are_not_compared() -> None:
    made = seen(answer("L-1", DAYS[0], 0.1), answer("L-1", DAYS[1], 0.9, version="2.0"))
    (change,) = made.visits[1].changes
    assert (change.verdict, change.malignant_probability, change.size) == ("not_comparable", None, None)
    # The first visit's image again, by the new model.
    made = seen(
        answer("L-1", DAYS[0], 0.1),
        answer("L-1", DAYS[0], 0.5, version="2.0"),
        answer("L-1", DAYS[1], 0.9, version="2.0"),
    )
    assert made.visits[0].malignant_probability == 0.5
    assert made.visits[1].changes[0].malignant_probability == pytest.approx(0.4)


def test_an_image_that_was_sent_twice_counts_once() -> None:
    once = answer("L-1", DAYS[0], 0.1)
    again = answer("L-1", DAYS[0], 0.1, image_sha256=once.image_sha256)
    visit = seen(once, again, answer("L-1", DAYS[0], 0.4)).visits[0]
    assert (visit.num_images, visit.num_averaged) == (3, 2)
    assert visit.malignant_probability == pytest.approx(0.25)


def test_there_are_millimetres_with_a_scale_alone_and_growth_is_never_claimed() -> None:
    first = answer("L-1", DAYS[0], millimetres_per_pixel=0.02)
    second = answer("L-1", DAYS[1], extent={"along": 300.0, "across": 150.0})
    without = seen(first, second)
    assert without.visits[0].size is not None
    assert (without.visits[0].size.along_mm, without.visits[0].size.across_mm) == (4.0, 2.0)
    assert without.visits[1].size is None
    assert without.visits[1].changes[0].size is None
    measured = seen(first, second, feedback(second, millimetres_per_pixel=0.02))
    change = measured.visits[1].changes[0].size
    assert change is not None
    assert (change.along_mm, change.across_mm, change.verdict) == (2.0, 1.0, "not_measured")
    assert "grown" not in measured.model_dump_json()


def test_the_last_ruler_counts_before_the_file() -> None:
    image = answer("L-1", DAYS[0], millimetres_per_pixel=0.02, reasons=["lesion_touches_border"])
    measured = seen(image, *(feedback(image, millimetres_per_pixel=scale) for scale in (0.5, 0.01)))
    assert measured.visits[0].size is not None
    assert measured.visits[0].size.along_mm == 2.0
    assert measured.visits[0].size.at_least


def test_feedback_stands_with_its_image() -> None:
    image, other = answer("L-1", DAYS[0]), answer("L-1", DAYS[0])
    made = seen(image, other, feedback(image, opinion="agree"), feedback(image, histology="nevus"))
    said = [[(each.opinion, each.histology) for each in of.feedback] for of in made.visits[0].images]
    assert said == [[("agree", None), (None, "nevus")], []]
