"""The bundle in the repository, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.bundle import MANIFEST_NAME, load_bundle
from service.settings import SHIPPED_BUNDLE, Settings

pytestmark = pytest.mark.skipif(not (SHIPPED_BUNDLE / MANIFEST_NAME).is_file(), reason="no bundle is shipped yet")


@pytest.fixture(scope="module")
def shipped() -> Iterator[TestClient]:
    """A service with its defaults; that it starts means that its canary got the known answer."""
    with TestClient(create_app(Settings(provider="cpu"))) as client:
        yield client


def test_the_canary_picture_gets_the_training_side_s_answer_over_http(shipped: TestClient) -> None:
    bundle = load_bundle(SHIPPED_BUNDLE)
    data = bundle.path(bundle.manifest.canary.picture).read_bytes()
    answer = shipped.post("/predict", files={"image": ("canary.jpg", data)}).json()
    expected = bundle.canary_outputs()
    tolerance = bundle.manifest.canary.tolerance
    assert list(answer["probabilities"].values()) == pytest.approx(expected["probabilities"][0], abs=tolerance)
    assert answer["lesion"]["fraction"] == pytest.approx(float(expected["lesion_fraction"][0]), abs=0.01)


def test_real_pictures_get_a_diagnosis_and_every_overlay(shipped: TestClient, data_root: Path) -> None:
    for path in sorted((data_root / "samples").glob("*.jpg"))[:3]:
        response = shipped.post("/predict", files={"image": (path.name, path.read_bytes())})
        assert response.status_code == 200
        answer = response.json()
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
        box, image = answer["lesion"]["crop_box"], answer["image"]
        assert 0 <= box["x0"] < box["x1"] <= image["width"]
        assert 0 <= box["y0"] < box["y1"] <= image["height"]
        for link in filter(None, answer["attention"].values()):
            assert shipped.get(link).headers["content-type"] == "image/png"
