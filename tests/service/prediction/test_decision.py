"""The decision, its reasons, and the crop box in pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundle import Bundle, DiagnosisClass, Interval, Manifest, NotSure, Repeatability
from service.inference.answers import Answer
from service.prediction.decision import Reason, decide, diagnosis, pixel_box
from tests.service.tiny_bundle import SIZE, THRESHOLD


@pytest.fixture
def manifest(tiny_bundle: Bundle) -> Manifest:
    return tiny_bundle.manifest


def _answer(melanoma: float = 0.9, *, box: tuple[float, ...] = (0.25, 0.25, 0.75, 0.75)) -> Answer:
    """A lesion in the middle, on which the branches agree."""
    probabilities = np.array([melanoma, 1.0 - melanoma, 0.0], np.float32)
    attention = np.zeros((SIZE, SIZE), np.uint8)
    attention[8:24, 8:24] = 255
    return Answer(
        probabilities=probabilities,
        branch_probabilities=np.stack([probabilities, probabilities]),
        lesion_attention=attention,
        crop_box=np.array(box, np.float32),
        lesion_fraction=0.25,
        spatial_attention=None,
        correlation_attention=None,
    )


def _reasons(answer: Answer, manifest: Manifest, *, side: int = 500) -> tuple[Reason, ...]:
    decision = decide(answer, manifest, manifest.operating_point(), width=side, height=600)
    assert decision.status == ("caution" if decision.reasons else "ok")
    return decision.reasons


def test_a_clear_case_has_no_reasons(manifest: Manifest) -> None:
    assert _reasons(_answer(), manifest) == ()
    assert diagnosis(_answer(), manifest) == "melanoma"
    assert diagnosis(_answer(0.1), manifest) == "seborrheic_keratosis"


@pytest.mark.parametrize(
    ("second", "reasons"),
    [
        ((slice(20, 28), slice(20, 28)), ("several_lesions",)),
        ((slice(20, 25), slice(20, 25)), ("several_lesions",)),  # well above an eighth of the first
        ((slice(20, 22), slice(20, 22)), ()),  # a speck
        ((slice(10, 28), slice(10, 28)), ()),  # one with the first
    ],
)
def test_a_second_lesion_that_is_no_speck(
    second: tuple[slice, slice], reasons: tuple[Reason, ...], manifest: Manifest
) -> None:
    attention = np.zeros((SIZE, SIZE), np.uint8)
    attention[4:12, 4:12] = 255
    attention[second] = 255
    assert _reasons(replace(_answer(), lesion_attention=attention), manifest) == reasons


def test_specks_alone_are_not_several_lesions(manifest: Manifest) -> None:
    attention = np.zeros((448, 448), np.uint8)
    for corner in (40, 200, 360):
        attention[corner : corner + 20, corner : corner + 20] = 255
    assert _reasons(replace(_answer(), lesion_attention=attention), manifest) == ()


def test_malignancy_is_the_sum_over_malignant_classes(manifest: Manifest) -> None:
    second = DiagnosisClass(name="carcinoma", label="Carcinoma", malignant=True)
    both = manifest.model_copy(update={"classes": [manifest.classes[0], second, manifest.classes[2]]})
    decision = decide(_answer(0.25), both, both.operating_point(), width=500, height=500)
    assert decision.malignancy == pytest.approx(1.0)
    assert decision.refer


def test_the_threshold_itself_refers(manifest: Manifest) -> None:
    point = manifest.operating_point().model_copy(update={"threshold": 0.5})
    assert decide(_answer(0.5), manifest, point, width=500, height=500).refer
    assert not decide(_answer(0.4999), manifest, point, width=500, height=500).refer


def test_each_operating_point_decides_for_itself(manifest: Manifest) -> None:
    def refers(name: str) -> bool | None:
        return decide(_answer(0.2), manifest, manifest.operating_point(name), width=500, height=500).refer

    assert not refers("balanced")
    assert refers("high-sensitivity")


def test_near_the_threshold(manifest: Manifest) -> None:
    assert _reasons(_answer(THRESHOLD + 0.04), manifest) == ("near_threshold",)
    assert _reasons(_answer(THRESHOLD - 0.04), manifest) == ("near_threshold",)
    assert _reasons(_answer(THRESHOLD + 0.06), manifest) == ()


def test_near_the_threshold_as_measured(manifest: Manifest) -> None:
    """Odds of 2:3 at the threshold; 0.2 of log-odds are 0.3529 and 0.4488."""
    interval = {"value": 0.1, "low": 0.0, "high": 0.2}
    figures = {"median_change": 0.05, "percentile_95_change": 0.2, "other_advice": interval, "near_threshold": 0.2}
    measured = Repeatability.model_validate({"measured_on": "pairs", "num_pairs": 9, **figures})
    repeatable = manifest.model_copy(update={"repeatability": measured})
    assert THRESHOLD == 0.4
    near = [p for p in (0.351, 0.354, 0.4, 0.447, 0.450) if "near_threshold" in _reasons(_answer(p), repeatable)]
    assert near == [0.354, 0.4, 0.447]
    assert "near_threshold" in _reasons(_answer(0.351), manifest), "within 0.05 where nothing was measured"


def _unsure_below(manifest: Manifest, least: float) -> Manifest:
    rule = NotSure(least_probability=least, chosen_on="nothing", cost=Interval(value=0.0, low=0.0, high=0.1))
    return manifest.model_copy(update={"not_sure": rule})


def test_when_no_class_is_likely_enough_a_referral_is_advised(manifest: Manifest) -> None:
    careful, point = _unsure_below(manifest, 0.7), manifest.operating_point()
    for melanoma, refer, unsure in (
        (0.2, False, False),
        (0.31, True, True),
        (0.39, True, True),
        (0.41, True, False),
        (0.9, True, False),
    ):
        decision = decide(_answer(melanoma), careful, point, width=500, height=600)
        assert (decision.refer, "not_sure" in decision.reasons) == (refer, unsure)
    assert decide(_answer(0.31), manifest, point, width=500, height=600).refer is False, "without the rule"


def test_near_either_limit_unless_the_other_one_decides(manifest: Manifest) -> None:
    """Threshold 0.4 of melanoma, 0.75 of the likeliest class; near is within 0.05 of a limit."""
    careful = _unsure_below(manifest, 0.75)
    told = {
        p: [r for r in _reasons(_answer(p), careful) if r.startswith("near")]
        for p in (0.19, 0.21, 0.26, 0.31, 0.37, 0.43, 0.46, 0.73)
    }
    only_unsure = ["near_not_sure"]
    assert told == {0.19: [], 0.21: only_unsure, 0.26: only_unsure, 0.31: [], 0.37: [], 0.43: [], 0.46: [], 0.73: []}
    assert all("near_threshold" in _reasons(_answer(p), manifest) for p in (0.37, 0.43)), "without the second limit"
    both = _unsure_below(manifest, 0.61)
    assert [r for r in _reasons(_answer(0.38), both) if r.startswith("near")] == ["near_threshold", "near_not_sure"]


def test_near_either_limit_as_measured(manifest: Manifest) -> None:
    """0.5 of log-odds around melanoma 0.4 are 0.288 and 0.524; around 0.75 of the likeliest, 0.645 and 0.832."""
    other = {"value": 0.1, "low": 0.0, "high": 0.2}
    figures = {"median_change": 0.05, "percentile_95_change": 0.2, "near_threshold": 0.5, "other_advice": other}
    measured = Repeatability.model_validate({"measured_on": "pairs", "num_pairs": 9, **figures})
    careful = _unsure_below(manifest, 0.75).model_copy(update={"repeatability": measured})
    told = {
        p: tuple(r for r in _reasons(_answer(p), careful) if "near" in r)
        for p in (0.1, 0.16, 0.18, 0.26, 0.3, 0.6, 0.7)
    }
    unsure = ("near_not_sure",)
    assert told == {0.1: (), 0.16: (), 0.18: unsure, 0.26: unsure, 0.3: unsure, 0.6: (), 0.7: ()}


def test_where_a_class_of_unknown_role_is_the_likeliest_a_referral_is_advised(manifest: Manifest) -> None:
    other = DiagnosisClass(name="other", label="Other", role="unknown")
    open_ = manifest.model_copy(update={"classes": [manifest.classes[0], other, manifest.classes[2]]})
    for melanoma, unsure in ((0.2, True), (0.6, False)):
        decision = decide(_answer(melanoma), open_, open_.operating_point(), width=500, height=600)
        assert (decision.refer, "not_sure" in decision.reasons) == (True, unsure)
        assert decision.malignancy == pytest.approx(melanoma)


def test_branches_that_name_different_diagnoses(manifest: Manifest) -> None:
    branches = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]], np.float32)
    assert "branches_disagree" in _reasons(replace(_answer(), branch_probabilities=branches), manifest)


def test_no_lesion(manifest: Manifest) -> None:
    nothing = replace(_answer(box=(0, 0, 1, 1)), lesion_fraction=0.0, lesion_attention=np.zeros((SIZE, SIZE), np.uint8))
    assert _reasons(nothing, manifest) == ("no_lesion_found",)


@pytest.mark.parametrize(
    ("box", "edge"),
    [
        ((0.0, 0.2, 0.8, 0.8), np.s_[:, 0]),
        ((0.2, 0.0, 0.8, 0.8), np.s_[0]),
        ((0.2, 0.2, 1.0, 0.8), np.s_[:, -1]),
        ((0.2, 0.2, 0.8, 1.0), np.s_[-1]),
    ],
)
def test_a_lesion_at_the_border_needs_box_and_attention_there(
    manifest: Manifest, box: tuple[float, ...], edge: Any
) -> None:
    attention = _answer().lesion_attention.copy()
    attention[edge] = 200
    assert _reasons(replace(_answer(box=box), lesion_attention=attention), manifest) == ("lesion_touches_border",)
    only_the_margin = _answer(box=box)
    assert _reasons(only_the_margin, manifest) == ()
    only_a_speck = replace(_answer(), lesion_attention=attention)
    assert _reasons(only_a_speck, manifest) == ()


def test_a_picture_smaller_than_the_frame(manifest: Manifest) -> None:
    assert _reasons(_answer(), manifest, side=manifest.frame_size) == ()
    assert _reasons(_answer(), manifest, side=manifest.frame_size - 1) == ("small_picture",)


def test_the_box_in_pixels() -> None:
    box = pixel_box(_answer(box=(0.25, 0.5, 0.75, 1.0)), width=1000, height=600)
    assert (box.x0, box.y0, box.x1, box.y1) == (250, 300, 750, 600)


@given(edges=st.tuples(*[st.floats(0.0, 1.0, width=32)] * 4), width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_the_box_lies_within_the_picture_and_is_never_empty(
    edges: tuple[float, float, float, float], width: int, height: int
) -> None:
    x0, x1 = sorted(edges[:2])
    y0, y1 = sorted(edges[2:])
    box = pixel_box(_answer(box=(x0, y0, x1, y1)), width=width, height=height)
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height
