"""The bundle in the repository, served."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from service.app import create_app
from service.bundle import Abstention, Bundle
from service.settings import Settings
from tests.paths import REPOSITORY
from tests.service.tiny_bundle import picture_bytes


@pytest.fixture(scope="module")
def shipped() -> Iterator[TestClient]:
    """A service with its defaults; that it starts means that its canary got the known answer."""
    with TestClient(create_app(Settings(provider="cpu"))) as client:
        yield client


def test_the_canary_picture_gets_the_training_sides_answer_over_http(
    shipped: TestClient, shipped_bundle: Bundle
) -> None:
    data = shipped_bundle.path(shipped_bundle.manifest.canary.picture).read_bytes()
    answer = shipped.post("/predict", files={"image": ("canary.jpg", data)}).json()
    expected = shipped_bundle.canary_outputs()
    tolerance = shipped_bundle.manifest.canary.tolerance
    assert list(answer["probabilities"].values()) == pytest.approx(expected["probabilities"][0], abs=tolerance)
    assert answer["lesion"]["fraction"] == pytest.approx(float(expected["lesion_fraction"][0]), abs=0.01)


def test_the_operating_points_decide(shipped: TestClient, shipped_bundle: Bundle) -> None:
    points = shipped_bundle.manifest.operating_points
    assert [point.name for point in points] == ["balanced", "high-sensitivity", "dermatologist"]
    for point in points:  # the rates are those of images that did not choose the threshold
        assert (point.measured_on, point.chosen_on) == (
            "isic2017-test (600 pictures)",
            "isic2017-train, out of fold (2000 pictures)",
        )
    data = shipped_bundle.path(shipped_bundle.manifest.canary.picture).read_bytes()
    for point in points:
        answer = shipped.post(f"/predict?operating_point={point.name}", files={"image": data}).json()
        decision = answer["decision"]
        assert decision["operating_point"] == point.name
        assert decision["threshold"] == pytest.approx(point.threshold)
        assert decision["malignant_probability"] == pytest.approx(answer["probabilities"]["melanoma"])
        above = decision["malignant_probability"] >= point.threshold
        assert decision["refer"] == (above or "not_sure" in decision["reasons"])


def test_its_figures_are_in_the_results(shipped_bundle: Bundle) -> None:
    """Those of the evaluations, and of one reading of the test set."""
    manifest = shipped_bundle.manifest
    release = f"{manifest.name}-{manifest.version}"
    results = REPOSITORY / "results" / release
    for split in ("validation", "test"):
        report = json.loads((results / f"{split}.json").read_text(encoding="utf-8"))
        assert manifest.provenance.metrics[report["set"]] == report["metrics"]
    read_for = [r for r in _readings() if r["metrics"] == manifest.provenance.metrics["isic2017-test"]]
    assert f"release {manifest.name} {manifest.version}" in {r.get("purpose") for r in read_for}


# Of dermoscopy about one image in a hundred is; of these nine, one.
TAKEN_FOR_A_PHOTOGRAPH = "ISIC_0010459.jpg"


def _readings() -> list[dict[str, Any]]:
    ledger = (REPOSITORY / "results" / "test-ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in ledger]


def test_its_limits_are_those_that_were_fitted_and_counted(shipped_bundle: Bundle) -> None:
    """In one reading of the test set, which is in the ledger."""
    manifest = shipped_bundle.manifest
    results = REPOSITORY / "results" / f"{manifest.name}-{manifest.version}"
    told = json.loads((results / "abstention.json").read_text(encoding="utf-8"))
    assert manifest.abstention == Abstention(**{k: told[k] for k in Abstention.model_fields})
    (reading,) = [r for r in _readings() if r.get("purpose") == f"abstention {manifest.name} {manifest.version}"]
    for variant in manifest.variants:
        counted = {m.measured_on: m for m in manifest.abstention.measured if m.variant == variant.name}
        assert counted["isic2017-test"].num_pictures == 600
        assert counted["isic2017-test"].abstained.value == 10 / 600
        assert counted["isic2017-test"].abstained.value == reading["metrics"][f"abstained_{variant.name}"]
        assert counted["not_dermoscopy"].num_pictures == 24
        assert counted["not_dermoscopy"].abstained.value == 1


@pytest.mark.data
def test_photographs_get_no_advice_and_originals_do(shipped: TestClient, data_root: Path) -> None:
    def decision(picture: Image.Image | Path) -> dict[str, Any]:
        data = picture.read_bytes() if isinstance(picture, Path) else picture_bytes(picture, "JPEG", quality=90)
        decided: dict[str, Any] = shipped.post("/predict", files={"image": data}).json()["decision"]
        return decided

    photographs = [decision(path) for path in sorted((data_root / "not_dermoscopy").iterdir())]
    assert len(photographs) == 24
    assert sum(d["refer"] is None for d in photographs) == 24
    unseen = sorted((data_root / "clinical_photographs" / "images").iterdir())[12:]
    assert sum(decision(path)["refer"] is None for path in unseen) == 11
    for path in sorted((data_root / "samples").iterdir()):
        assert (decision(path)["refer"] is None) == (path.name == TAKEN_FOR_A_PHOTOGRAPH), path.name
        with Image.open(path) as original:
            original.draft("RGB", (1024, 1024))
            picture = original.convert("RGB")
        blur = picture.filter(ImageFilter.GaussianBlur(picture.width / 256 * 6))
        assert "blurred" in decision(blur)["abstained_because"], path.name
        assert "no_colour" in decision(picture.convert("L"))["abstained_because"], path.name
        assert "too_dark" in decision(picture.point(lambda v: v * 0.3))["abstained_because"], path.name
        assert "too_bright" in decision(picture.point(lambda v: v * 3))["abstained_because"], path.name


@pytest.mark.data
def test_real_originals_get_a_diagnosis_a_box_and_every_overlay(shipped: TestClient, data_root: Path) -> None:
    for path in sorted((data_root / "samples").glob("*.jpg")):
        answer = shipped.post("/predict?include=raw", files={"image": (path.name, path.read_bytes())}).json()
        with Image.open(path) as original:
            assert (answer["image"]["width"], answer["image"]["height"]) == original.size
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
        assert answer["lesion"]["found"]
        for link in answer["attention"].values():
            overlay = shipped.get(link)
            assert overlay.headers["content-type"] == "image/png"
            with Image.open(io.BytesIO(overlay.content)) as drawn:
                width, height = original.size
                assert drawn.width / drawn.height == pytest.approx(width / height, rel=0.01)


@pytest.mark.data
def test_the_box_frames_the_lesion(shipped: TestClient, shipped_bundle: Bundle, data_root: Path) -> None:
    """Against the official mask of the same picture and the skin that the model keeps around it."""
    margin = shipped_bundle.manifest.provenance.config["recognition"]["network"]["crop_margin"]
    masks = {path.stem[:12]: path for path in data_root.glob("isic2017/*_Part1_GroundTruth/*_segmentation.png")}
    ious = []
    for path in sorted((data_root / "samples").glob("*.jpg")):
        answer = shipped.post("/predict", files={"image": (path.name, path.read_bytes())}).json()
        box, image = answer["lesion"]["crop_box"], answer["image"]
        with Image.open(masks[path.stem]) as picture:
            mask = np.asarray(picture) > 128
        inside = np.zeros_like(mask)
        rows = slice(box["y0"] * 256 // image["height"], -(-box["y1"] * 256 // image["height"]))
        inside[rows, box["x0"] * 256 // image["width"] : -(-box["x1"] * 256 // image["width"])] = True
        ys, xs = np.nonzero(mask)
        true_box = np.zeros_like(mask)
        true_box[_with_margin(ys, margin), _with_margin(xs, margin)] = True
        ious.append((inside & true_box).sum() / (inside | true_box).sum())
        assert (inside & mask).sum() / mask.sum() > 0.8, path.name
    assert float(np.mean(ious)) > 0.7


def _with_margin(positions: np.ndarray, margin: float) -> slice:
    first, last = int(positions.min()), int(positions.max()) + 1
    kept = round(margin * (last - first))
    return slice(max(0, first - kept), last + kept)


@pytest.mark.data
def test_an_original_and_its_copy_get_the_same_answer(shipped: TestClient, data_root: Path) -> None:
    """The sets hold the same pictures squashed to 256 x 256."""
    copies = {path.stem: path for path in data_root.glob("isic201*/*/ISIC_*.jpg")}
    for path in sorted((data_root / "samples").glob("*.jpg")):
        answers = [
            shipped.post("/predict?include=raw", files={"image": p.read_bytes()}).json()
            for p in (path, copies[path.stem])
        ]
        assert answers[0]["diagnosis"] == answers[1]["diagnosis"], path.name
        for name, probability in answers[0]["probabilities"].items():
            assert probability == pytest.approx(answers[1]["probabilities"][name], abs=0.05), path.name
