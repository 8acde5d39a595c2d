"""A bundle whose bytes are as the manifest says but whose meaning was changed: verify and the start refuse it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle import FAMILIARITY_NAME, MANIFEST_NAME, Bundle, BundleError, file_sha256, load_bundle
from service.bundle.canary import differences
from service.inference.answers import EngineError
from tests.service.cli.conftest import cin
from tests.service.conftest import Start

Fields = dict[str, Any]
Change = Callable[[Path, Fields], None]


def swap_classes(_: Path, fields: Fields) -> None:
    """Everywhere but in what the canary expects."""
    fields["classes"] = [fields["classes"][index] for index in (2, 1, 0)]
    fields["reference"]["probabilities"] = dict(reversed(fields["reference"]["probabilities"].items()))


def swap_names(_: Path, fields: Fields) -> None:
    first, last = fields["classes"][0], fields["classes"][2]
    first["name"], last["name"] = last["name"], first["name"]
    fields["reference"]["probabilities"] = dict(reversed(fields["reference"]["probabilities"].items()))


def swap_labels(_: Path, fields: Fields) -> None:
    first, last = fields["classes"][0], fields["classes"][2]
    first["label"], last["label"] = last["label"], first["label"]


def mark(name: str, malignant: bool) -> Change:
    def change(_: Path, fields: Fields) -> None:
        (chosen,) = (c for c in fields["classes"] if c["name"] == name)
        chosen.update(malignant=malignant, role="malignant" if malignant else "benign")

    return change


def move_the_mark(folder: Path, fields: Fields) -> None:
    mark("melanoma", False)(folder, fields)
    mark("nevus", True)(folder, fields)


def mark_all(_: Path, fields: Fields) -> None:
    for c in fields["classes"]:
        c.update(malignant=True, role="malignant")


def point(index: int, **changes: Any) -> Change:
    return lambda _, fields: fields["operating_points"][index].update(changes)


def limit(**changes: float) -> Change:
    return lambda _, fields: fields["abstention"].update(changes)


def prevalence(**shares: float) -> Change:
    return lambda _, fields: fields.update(prevalence=shares)


def interval_inside_out(_: Path, fields: Fields) -> None:
    fields["operating_points"][0]["sensitivity"] = {"value": 0.99, "low": 0.8, "high": 0.9}


def contradicting_rates(_: Path, fields: Fields) -> None:
    """The lower threshold with the lower sensitivity."""
    fields["operating_points"][1]["sensitivity"] = {"value": 0.5, "low": 0.4, "high": 0.6}


def arrays(file: str, **changes: Callable[[Any], Any]) -> Change:
    def change(folder: Path, _: Fields) -> None:
        with np.load(folder / file, allow_pickle=False) as archive:
            kept = {name: archive[name] for name in archive.files}
        np.savez(folder / file, **{name: changes.get(name, lambda array: array)(a) for name, a in kept.items()})

    return change


def without(file: str, name: str) -> Change:
    def change(folder: Path, _: Fields) -> None:
        with np.load(folder / file, allow_pickle=False) as archive:
            kept = {each: archive[each] for each in archive.files if each != name}
        np.savez(folder / file, **kept)

    return change


def garbage(data: bytes) -> Change:
    def change(folder: Path, _: Fields) -> None:
        (folder / FAMILIARITY_NAME).write_bytes(data)

    return change


def nan(array: np.ndarray) -> np.ndarray:
    return np.full_like(array, np.nan)


# What no bundle can mean is found when it is loaded; the word is in the reason.
IMPOSSIBLE: dict[str, tuple[Change, str]] = {
    "every class malignant": (mark_all, "no class is marked benign"),
    "threshold 0": (point(0, threshold=0), "operating_points.0.threshold"),
    "threshold 1": (point(1, threshold=1), "operating_points.1.threshold"),
    "infinite threshold": (point(0, threshold=float("inf")), "operating_points.0.threshold"),
    "interval inside out": (interval_inside_out, "operating_points.0.sensitivity: Value error, the value is outside"),
    "contradicting rates": (contradicting_rates, "high-sensitivity and balanced contradict each other"),
    "infinite distance limit": (limit(max_unfamiliarity=float("inf")), "abstention.max_unfamiliarity"),
    "huge distance limit": (limit(max_unfamiliarity=1e300), "abstention.max_unfamiliarity"),
    "NaN sharpness limit": (limit(min_sharpness=float("nan")), "abstention.min_sharpness"),
    "no sharpness limit": (limit(min_sharpness=0), "abstention.min_sharpness"),
    "all may be dark": (limit(max_dark_share=1), "abstention.max_dark_share"),
    "all may be bright": (limit(max_bright_share=1), "abstention.max_bright_share"),
    "NaN temperature": (lambda _, fields: fields.update(temperature=[float("nan"), 1.0]), "temperature.0"),
    "no temperature": (lambda _, fields: fields.update(temperature=[0.0, 1.0]), "temperature.0"),
    "prevalence of other classes": (prevalence(melanoma=0.5, wart=0.5), "prevalence is not about the same classes"),
    "prevalence of more than all": (
        prevalence(melanoma=0.5, seborrheic_keratosis=0.5, nevus=0.5),
        "prevalences do not sum to 1",
    ),
    "probabilities of two classes": (
        lambda _, fields: fields["outputs"][0].update(shape=["batch", 2]),
        "the graphs have probabilities of shape",
    ),
    "NaN mean": (arrays(FAMILIARITY_NAME, mean=nan), "numbers in mean that are not finite"),
    "NaN variance": (arrays(FAMILIARITY_NAME, other_variance=nan), "numbers in other_variance that are not finite"),
    "variance 0": (arrays(FAMILIARITY_NAME, variances=np.zeros_like), "variances that are not positive"),
    "negative variance": (arrays(FAMILIARITY_NAME, other_variance=np.negative), "variances that are not positive"),
    "long components": (arrays(FAMILIARITY_NAME, components=lambda a: 3 * a), "components that are not orthonormal"),
    "components of another shape": (arrays(FAMILIARITY_NAME, components=lambda a: a[:, :2]), "shapes do not fit"),
    "limits of text": (arrays(FAMILIARITY_NAME, mean=lambda a: a.astype(str)), "numbers in mean that are not finite"),
    "no mean": (without(FAMILIARITY_NAME, "mean"), "familiarity.npz has no 'mean'"),
    "empty limit file": (garbage(b""), "familiarity.npz is not a readable .npz file"),
    "limit file of noise": (garbage(b"PK\3\4" + bytes(range(256))), "familiarity.npz is not a readable .npz file"),
    "NaN canary": (arrays("canary.npz", probabilities=nan), "numbers in probabilities that are not finite"),
    "canary of two classes": (arrays("canary.npz", probabilities=lambda a: a[:, :2]), "no probabilities of 3 classes"),
    "canary without branches": (without("canary.npz", "branch_probabilities"), "no branch_probabilities of 3 classes"),
}

# What a bundle could mean, but not this one, is found by the canary.
OTHER: dict[str, tuple[Change, str]] = {
    "classes in another order": (swap_classes, "the classes are nevus, seborrheic_keratosis, melanoma"),
    "swapped names": (swap_names, "the classes are nevus, seborrheic_keratosis, melanoma"),
    "swapped labels": (swap_labels, "melanoma is labelled 'Nevus', expected 'Melanoma'"),
    "malignant nevus": (mark("nevus", True), "nevus counts as malignant, expected benign"),
    "malignancy moved": (move_the_mark, "melanoma counts as benign, expected malignant"),
    "another default": (
        lambda _, fields: fields.update(default_operating_point="high-sensitivity"),
        "the default operating point is high-sensitivity, expected balanced",
    ),
    "raised threshold": (point(0, threshold=0.9), "the threshold of balanced is 0.9, expected 0.4"),
    "wide distance limit": (limit(max_unfamiliarity=50.0), "the limits are max_unfamiliarity 50"),
    "narrow sharpness limit": (limit(min_sharpness=0.9), "min_sharpness 0.9"),
    "wide Gaussian": (arrays(FAMILIARITY_NAME, other_variance=lambda a: 1e6 * a), "unfamiliarity is"),
    "moved Gaussian": (arrays(FAMILIARITY_NAME, mean=lambda a: a + 1), "unfamiliarity is"),
    "no limits at all": (lambda _, fields: fields.update(abstention=None), "the limits are none"),
}


def manipulated(bundle: Bundle, folder: Path, change: Change) -> Path:
    """A copy of the bundle, changed, with every digest as its author would write it."""
    shutil.copytree(bundle.folder, folder)
    fields = json.loads((folder / MANIFEST_NAME).read_bytes())
    change(folder, fields)
    fields["files"] = {name: file_sha256(folder / name) for name in fields["files"]}
    (folder / MANIFEST_NAME).write_text(json.dumps(fields))
    return folder


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_no_bundle_can_mean(examining_bundle: Bundle, tmp_path: Path, kind: str) -> None:
    change, reason = IMPOSSIBLE[kind]
    folder = manipulated(examining_bundle, tmp_path / "bundle", change)
    with pytest.raises(BundleError, match="copy") as refusal:
        load_bundle(folder)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize("kind", OTHER)
def test_what_this_bundle_does_not_mean(examining_bundle: Bundle, tmp_path: Path, kind: str) -> None:
    change, reason = OTHER[kind]
    result = cin("bundle", "verify", manipulated(examining_bundle, tmp_path / "bundle", change))
    assert result.exit_code == 1
    assert reason in result.stderr


def test_an_untouched_copy_verifies_without_a_word(examining_bundle: Bundle, tmp_path: Path) -> None:
    result = cin("bundle", "verify", manipulated(examining_bundle, tmp_path / "bundle", lambda *_: None))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(("change", "reason"), [OTHER["classes in another order"], OTHER["malignant nevus"]])
def test_a_service_does_not_start_with_it(
    start: Start, examining_bundle: Bundle, tmp_path: Path, change: Change, reason: str
) -> None:
    folder = manipulated(examining_bundle, tmp_path / "bundle", change)
    with pytest.raises(EngineError, match=reason), start(bundle=folder):
        pass


@pytest.mark.parametrize("abstain", ["on", "off"])
def test_a_service_does_not_start_with_a_damaged_limit_file(
    start: Start, examining_bundle: Bundle, tmp_path: Path, abstain: str
) -> None:
    folder = manipulated(examining_bundle, tmp_path / "bundle", arrays(FAMILIARITY_NAME, mean=nan))
    with pytest.raises(BundleError, match="has numbers in mean"), start(bundle=folder, abstain=abstain):
        pass


def test_a_reference_is_not_measured_with_it(examining_bundle: Bundle, tmp_path: Path) -> None:
    """Which would write what its canary means now as what it has to mean."""
    folder = manipulated(examining_bundle, tmp_path / "bundle", swap_labels)
    before = (folder / MANIFEST_NAME).read_bytes()
    pictures = folder / examining_bundle.manifest.canary.picture
    result = cin("bundle", "reference", folder, pictures, "--measured-on", "tests")
    assert result.exit_code == 1
    assert "is labelled" in result.stderr
    assert (folder / MANIFEST_NAME).read_bytes() == before


def test_a_bundle_from_before_expectations_is_served_and_verify_says_what_it_lacks(
    start: Start, examining_bundle: Bundle, tmp_path: Path
) -> None:
    def older(_: Path, fields: Fields) -> None:
        fields["schema_version"] = 4
        for variant in fields["variants"]:
            del variant["canary_prediction"]

    folder = manipulated(examining_bundle, tmp_path / "bundle", older)
    result = cin("bundle", "verify", folder)
    assert result.exit_code == 0
    assert "older than schema 5" in result.stderr
    with start(bundle=folder) as client:
        assert client.get("/readyz").status_code == 200


def test_rounding_is_no_difference(examining_bundle: Bundle) -> None:
    (variant,) = examining_bundle.manifest.variants
    expected = variant.canary_prediction
    assert expected is not None
    assert expected.quality is not None
    assert differences(expected, expected, tolerance=1e-3) == []
    quality = replace(expected.quality, unfamiliarity=1.01 * expected.quality.unfamiliarity)
    close = expected.model_copy(
        update={"malignant_probability": expected.malignant_probability + 5e-4, "quality": quality}
    )
    assert differences(close, expected, tolerance=1e-3) == []
    # A probability on the threshold may fall on either side of it.
    threshold = expected.decisions["balanced"].threshold
    at = expected.model_copy(update={"malignant_probability": threshold})
    flipped = {**at.decisions, "balanced": at.decisions["balanced"].model_copy(update={"refer": False})}
    assert differences(at.model_copy(update={"decisions": flipped}), at, tolerance=1e-3) == []
    assert differences(expected.model_copy(update={"decisions": flipped}), expected, tolerance=1e-3) != []
