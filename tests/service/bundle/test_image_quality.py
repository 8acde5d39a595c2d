"""Sharpness, exposure and familiarity: against figures by hand, against scikit-learn, and on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.decomposition import PCA

from service.bundle.feature_distance import fit_feature_distance, read_feature_distance
from service.bundle.image_quality import Exposure, measure_exposure
from service.imaging import read_picture

SIZE = 64


def _grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)


def test_sharpness_by_hand() -> None:
    ramp = np.tile(np.arange(SIZE, dtype=np.uint8), (SIZE, 1))
    assert measure_exposure(_grey(ramp)).sharpness == pytest.approx(0.25)
    columns = np.tile(np.arange(SIZE, dtype=np.uint8) % 2 * 200, (SIZE, 1))
    columns[:, 40:] ^= 200  # or pixels four apart would never differ
    wide = 4 * 200 / (SIZE - 4)
    assert measure_exposure(_grey(columns)).sharpness == pytest.approx(200 * (SIZE - 2) / (SIZE - 1) / wide)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    assert measure_exposure(_grey(noise)).sharpness == pytest.approx(1.0, abs=0.05)
    assert measure_exposure(_grey(np.full((SIZE, SIZE), 99, np.uint8))).sharpness == 0.0


def test_shares_by_hand() -> None:
    frame = np.full((SIZE, SIZE, 3), 150, np.uint8)
    frame[: SIZE // 4] = (99, 99, 99)  # dark
    frame[SIZE // 4 : SIZE // 2] = (100, 0, 0)  # one channel is not
    frame[-SIZE // 8 :] = (255, 240, 220)  # its luma is 242
    exposure = measure_exposure(frame)
    assert (exposure.dark_share, exposure.bright_share) == (0.25, 0.125)
    assert exposure.colour == (100 / 4) + (35 / 8)


@given(level=st.integers(0, 255))
def test_a_flat_picture_is_all_of_one_kind(level: int) -> None:
    exposure = measure_exposure(np.full((8, 8, 3), level, np.uint8))
    assert exposure == Exposure(0.0, float(level < 100), float(level >= 240), 0.0)


@pytest.fixture(scope="module")
def originals(data_root: Path) -> list[Image.Image]:
    return [
        Image.fromarray(read_picture(path.read_bytes(), 256).frame)
        for path in sorted((data_root / "samples").iterdir())
    ]


@pytest.mark.data
def test_the_more_blurred_the_less_sharp(originals: list[Image.Image]) -> None:
    for picture in originals:
        blurred = [picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 3)]
        sharpness = [measure_exposure(np.asarray(p)).sharpness for p in blurred]
        assert sharpness == sorted(sharpness, reverse=True)
        assert sharpness[0] > 1.3 * sharpness[-1]


@pytest.mark.data
def test_the_less_light_the_darker_and_the_more_the_brighter(originals: list[Image.Image]) -> None:
    for picture in originals:
        exposures = [measure_exposure(np.asarray(picture.point(lambda v, s=s: v * s))) for s in (0.1, 0.3, 1, 2, 4)]
        dark, bright = [e.dark_share for e in exposures], [e.bright_share for e in exposures]
        assert dark == sorted(dark, reverse=True)
        assert bright == sorted(bright)
        assert (dark[0], bright[-1]) == pytest.approx((1.0, 0.9), abs=0.1)


@pytest.mark.data
def test_sharpness_is_not_contrast(originals: list[Image.Image]) -> None:
    for picture in originals:
        pixels = np.asarray(picture)
        faint = (pixels // 2 + 64).astype(np.uint8)
        whole, half = (measure_exposure(p).sharpness for p in (pixels, faint))
        assert half == pytest.approx(whole, abs=0.06)


def _features(num: int = 400) -> NDArray[np.float32]:
    """Features [N, 2, 6] whose square roots are correlated."""
    rng = np.random.default_rng(0)
    roots = 3.0 + rng.normal(size=(num, 3)) @ rng.normal(size=(3, 12)) * 0.2 + rng.normal(size=(num, 12)) * 0.1
    return (roots**2).astype(np.float32).reshape(num, 2, 6)


def test_unfamiliarity_is_the_mahalanobis_distance_of_probabilistic_pca() -> None:
    features = _features()
    judge = PCA(n_components=3, svd_solver="full").fit(np.sqrt(features).reshape(len(features), -1))
    unusual = features * np.linspace(0.5, 2.0, 12, dtype=np.float32).reshape(2, 6)
    for shown in (features, unusual):
        difference = np.sqrt(shown, dtype=np.float64).reshape(len(shown), -1) - judge.mean_
        squared = np.einsum("nd,de,ne->n", difference, judge.get_precision(), difference)
        # Its covariance is divided by N - 1, ours by N.
        expected = np.sqrt(squared * len(features) / (len(features) - 1) / 12)
        ours = fit_feature_distance(features, num_components=3).of(shown)
        np.testing.assert_allclose(ours, expected, rtol=1e-4)
    own, other = (fit_feature_distance(features, num_components=3).of(f) for f in (features, unusual))
    assert np.sqrt((own**2).mean()) == pytest.approx(1.0, rel=1e-3)
    assert other.min() > 2 * own.max()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    features = _features()
    fitted = fit_feature_distance(features, num_components=3)
    fitted.save(tmp_path / "familiarity.npz")
    read = read_feature_distance(tmp_path / "familiarity.npz")
    np.testing.assert_allclose(read.of(features), fitted.of(features), rtol=1e-3)
    assert read.of(features[0]).shape == ()


def test_features_that_never_vary_and_few_pictures() -> None:
    constant = np.ones((8, 2, 6), np.float32)
    fitted = fit_feature_distance(constant, num_components=64)
    assert fitted.of(constant[0]) == 0.0
    assert 100.0 < fitted.of(constant[0] * 2.0) < np.inf
    assert np.isfinite(fitted.of(np.full((2, 6), np.finfo(np.float32).max)))
