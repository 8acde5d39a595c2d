"""``cin-train outside``: other diagnoses, other photographs, and two images of one lesion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.release.outside import (
    Advice,
    LabelledImages,
    halves,
    measure_repeats,
    outside_advice,
    read_labelled,
)
from service.bundle import load_bundle
from tests.model_training.conftest import SmallExperiment


def write_images(folder: Path, table: str, rows: list[tuple[str, str]], *, black: bool = False) -> None:
    """Noise images, or black ones, and the table that says of which diagnosis and lesion they are."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = ["path,diagnosis,lesion"]
    for place, (diagnosis, lesion) in enumerate(rows):
        pixels = random.integers(60, 200, (96, 96, 3), dtype=np.uint8) // (255 if black else 1)
        Image.fromarray(pixels).save(folder / "images" / f"{place}.png")
        lines.append(f"images/{place}.png,{diagnosis},{lesion}")
    (folder / table).write_text("\n".join(lines) + "\n", encoding="utf-8")


def outside(small: SmallExperiment, data: Path, figures: Path, *options: str) -> Result:
    arguments = ["outside", str(small.bundle), "--data", str(data), "--figures", str(figures), *options]
    return CliRunner().invoke(app, arguments)


def test_every_set_that_is_there_is_measured(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    write_images(tmp_path / "unknown_diagnoses", "labels.csv", [("bcc", f"b{n}") for n in range(4)] + [("akiec", "a")])
    write_images(tmp_path / "repeat_pairs", "lesions.csv", [("nv", f"l{n // 2}") for n in range(6)] + [("nv", "alone")])
    write_images(tmp_path / "clinical_photographs", "unused.csv", [("nv", "x")] * 3, black=True)
    figures = tmp_path / "outside.json"
    result = outside(small_experiment, tmp_path, figures)
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())
    assert found["bundle"] == "synthetic 1.0.0"
    parts = [found["unknown_diagnoses"][half] for half in ("first", "second")]
    assert sum(part.get("bcc", {"num_images": 0})["num_images"] for part in parts) == 4
    for part in parts:
        for of in part.values():
            assert sum(of[name]["value"] for name in ("referred", "not_referred", "withheld")) == pytest.approx(1)
    assert found["repeat_pairs"] is None, "noise gets no advice"
    assert found["clinical_photographs"]["withheld"]["value"] == 1.0
    assert "not_dermoscopy" not in found


def test_halves_share_no_lesion_and_have_the_same_mix(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    rows = [("bcc", f"b{n // 2}") for n in range(8)] + [("vasc", f"v{n}") for n in range(4)]
    write_images(tmp_path / "set", "labels.csv", rows)
    size = load_bundle(small_experiment.bundle).manifest.frame_size
    images = read_labelled(tmp_path / "set", "labels.csv", frame_size=size, jpeg_quality=None)
    first, second = halves(images)
    assert not set(first.lesions) & set(second.lesions)
    assert sorted(first.diagnoses) == sorted(second.diagnoses)
    assert len(first.frames) + len(second.frames) == len(rows)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("image,diagnosis\n1.png,bcc\n", "path, diagnosis, lesion"),
        ("path,diagnosis,lesion\n", "lists no images"),
        ("path,diagnosis,lesion\nimages/none.png,bcc,b\n", "none.png"),
    ],
)
def test_a_set_that_cannot_be_read_is_named(
    small_experiment: SmallExperiment, tmp_path: Path, table: str, text: str
) -> None:
    folder = tmp_path / "unknown_diagnoses"
    folder.mkdir()
    (folder / "labels.csv").write_text(table)
    result = outside(small_experiment, tmp_path, tmp_path / "outside.json")
    assert result.exit_code == 1
    assert text in " ".join(result.output.split())
    assert not (tmp_path / "outside.json").exists()


def test_a_folder_without_any_of_the_sets_is_named(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    result = outside(small_experiment, tmp_path, tmp_path / "outside.json")
    assert result.exit_code == 1
    assert "unknown_diagnoses" in result.output


def test_repeatability_goes_into_the_bundle(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    pairs, figures, written = tmp_path / "repeat_pairs", tmp_path / "outside.json", tmp_path / "bundle"
    (pairs / "images").mkdir(parents=True)
    lines = ["path,diagnosis,lesion"]
    images = sorted((small_experiment.data / "isic2017" / "ISIC-2017_Validation_Data").glob("*.jpg"))[:12]
    for place, image in enumerate(images):
        shutil.copy(image, pairs / "images")
        lines.append(f"images/{image.name},nevus,l{place // 2}")
    (pairs / "lesions.csv").write_text("\n".join(lines))
    result = outside(small_experiment, tmp_path, figures, "--out", str(written))
    assert result.exit_code == 0, result.output
    bundle, found = load_bundle(written), json.loads(figures.read_text())["repeat_pairs"]
    assert bundle.manifest.repeatability is not None
    assert bundle.manifest.repeatability.model_dump() == found
    assert f"{found['num_pairs']} pairs of images" in bundle.model_card()
    assert 0 < found["num_pairs"] <= 6


def test_nearness_follows_from_pairs(small_experiment: SmallExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pairs whose log-odds differ by 0.1, 0.2, ... 1.0: 0.6 of them by less than 0.64."""
    low = 1 / (1 + np.exp(-np.zeros(10)))
    high = 1 / (1 + np.exp(-np.arange(1, 11) / 10))
    malignancy_N = np.stack([low, high], axis=1).ravel()
    probabilities = np.stack([malignancy_N, 1 - malignancy_N, np.zeros(20)], axis=1).astype(np.float32)
    advice = Advice(probabilities, malignancy_N, np.zeros(20, bool), malignancy_N >= 0.55)
    monkeypatch.setattr("model_training.release.outside.advise", lambda bundle, frames: advice)
    images = LabelledImages(np.zeros((20, 8, 8, 3), np.uint8), ("nv",) * 20, tuple(f"l{n // 2}" for n in range(20)))
    measured = measure_repeats(load_bundle(small_experiment.bundle), images, measured_on="pairs")
    assert measured is not None
    assert measured.near_threshold == pytest.approx(0.64)
    assert measured.other_advice.value == pytest.approx(0.8)  # all but 0.1 and 0.2
    assert measured.median_change == pytest.approx(np.median(high - 0.5))


def test_only_images_that_chose_no_limit_are_in_the_manifest() -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6}
    shares = {"num_images": 9, "referred": share, "not_referred": share, "withheld": share}
    found = {
        "unknown_diagnoses": {"first": {"bcc": {**shares, "num_images": 7}}, "second": {"bcc": shares, "df": shares}},
        "clinical_photographs": {**shares, "num_images": 8},
        "clinical_photographs, second half": shares,
    }
    told = outside_advice(found)
    assert [(of.name, of.measured_on, of.num_images) for of in told] == [
        ("bcc", "unknown_diagnoses, second half", 9),
        ("df", "unknown_diagnoses, second half", 9),
        ("clinical_photographs", "clinical_photographs, second half", 9),
    ]
    assert outside_advice({}) == []
