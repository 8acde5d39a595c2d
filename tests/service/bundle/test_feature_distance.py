"""The out-of-distribution score: the distance from the training images, and from clinical photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import BundleError
from service.bundle.feature_distance import (
    FeatureDistance,
    fit_feature_distance,
    fit_photographs,
    read_feature_distance,
)

LIMIT = 1.5


def features(num: int, *, seed: int, towards: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Features ``[N, 2, C]`` whose square roots are normal; ``towards`` is added to these."""
    roots_NC = np.random.default_rng(seed).normal(5.0, 0.5, (num, 32)) + (0.0 if towards is None else towards)
    return np.square(roots_NC).reshape(num, 2, 16).astype(np.float32)


# A small step in every feature: hardly further away, and always in one direction.
TOWARDS = np.random.default_rng(5).choice((-0.35, 0.35), 32)


@pytest.fixture(scope="module")
def gaussian() -> FeatureDistance:
    return fit_feature_distance(features(400, seed=0), num_components=8)


def with_direction(gaussian: FeatureDistance, other: NDArray[np.float32] | None = None) -> FeatureDistance:
    photographs = features(12, seed=1, towards=TOWARDS)
    return fit_photographs(
        gaussian, features(400, seed=0), photographs, limit=LIMIT, share=0.01, other=other, other_share=0.1
    )


def test_photographs_that_are_not_distant_are_found_by_their_direction(gaussian: FeatureDistance) -> None:
    unseen, dermoscopy = features(200, seed=2, towards=TOWARDS), features(200, seed=3)
    found = with_direction(gaussian)
    assert (gaussian.of(unseen) > LIMIT).mean() < 0.1
    assert (found.of(unseen) > LIMIT).mean() > 0.9
    assert (found.of(dermoscopy) > LIMIT).mean() < 0.05
    assert (found.of(features(200, seed=2, towards=-TOWARDS)) > LIMIT).mean() < 0.1, "only towards photographs"


def test_the_distance_counts_where_it_is_larger(gaussian: FeatureDistance) -> None:
    far = features(20, seed=4, towards=np.full(32, 4.0))
    found = with_direction(gaussian)
    assert np.array_equal(found.of(far), np.maximum(gaussian.of(far), found.of(far)))
    assert (found.of(far) > LIMIT).all()
    assert found.of(np.full((2, 16), np.finfo(np.float32).max)) > LIMIT


def test_other_dermoscopy_raises_the_limit(gaussian: FeatureDistance) -> None:
    other = features(100, seed=6, towards=TOWARDS / 2)
    assert (with_direction(gaussian).of(other) > LIMIT).mean() > 0.2
    assert (with_direction(gaussian, other).of(other) > LIMIT).mean() <= 0.1


def test_photographs_in_no_direction_are_refused(gaussian: FeatureDistance) -> None:
    training = features(400, seed=0)
    with pytest.raises(ValueError, match="do not differ from the training images"):
        fit_photographs(gaussian, training, training, limit=LIMIT, share=0.01)


def test_the_direction_is_kept_in_the_file(gaussian: FeatureDistance, tmp_path: Path) -> None:
    found, unseen = with_direction(gaussian), features(50, seed=2, towards=TOWARDS)
    found.save(tmp_path / "familiarity.npz")
    assert read_feature_distance(tmp_path / "familiarity.npz").of(unseen) == pytest.approx(found.of(unseen), rel=1e-4)
    with np.load(tmp_path / "familiarity.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["photographs"] = arrays["photographs"][:-1]
    np.savez(tmp_path / "familiarity.npz", **arrays)
    with pytest.raises(BundleError, match="whose shape does not fit"):
        read_feature_distance(tmp_path / "familiarity.npz")
