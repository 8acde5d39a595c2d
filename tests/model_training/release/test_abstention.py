"""Limits fitted to a bundle's training images, by `export` and, for a bundle that has none, by `abstention`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.release.abstention import exceeded_limits, fit_limits
from model_training.release.familiarity import NUM_COMPONENTS, cross_fitted_distances
from model_training.release.parity import run_onnx
from service.bundle import FAMILIARITY_NAME, FEATURES, Bundle, differences, load_bundle, write_bundle
from service.bundle.abstention import ABSTAINS
from service.bundle.feature_distance import fit_feature_distance
from service.inference.engine import Engine
from tests.model_training.conftest import SmallExperiment


def without(bundle: Bundle, folder: Path, **changed: object) -> Bundle:
    """The bundle without limits, as it was before they were fitted, and otherwise ``changed``."""
    files = {name: bundle.path(name) for name in bundle.manifest.files if name != FAMILIARITY_NAME}
    fields = bundle.manifest.model_dump(exclude={"schema_version", "files"})
    return write_bundle(folder, files=files, manifest={**fields, "abstention": None, **changed})


@pytest.fixture(scope="module")
def older(small_experiment: SmallExperiment, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return without(load_bundle(small_experiment.bundle), tmp_path_factory.mktemp("older") / "bundle")


def abstention(small: SmallExperiment, bundle: Path, out: Path, *arguments: str) -> Result:
    options = ["--version", "1.1.0", "--data", str(small.data), "--cache", str(small.cache)]
    ledger = ["--ledger", str(out.parent / "ledger.jsonl")]
    return CliRunner().invoke(app, ["abstention", str(bundle), "--out", str(out), *options, *ledger, *arguments])


def test_export_fits_and_counts(small_experiment: SmallExperiment) -> None:
    bundle = load_bundle(small_experiment.bundle)
    limits = bundle.manifest.abstention
    assert limits is not None
    assert limits.fitted_on == "isic2017-train (24)"
    counted = {m.measured_on: m.num_pictures for m in limits.measured if m.variant == "fp32"}
    assert counted == {"isic2017-validation": 18, "photographs": 2, "isic2017-test": 12}
    told = json.loads((small_experiment.bundle.parent / "limits.json").read_text())
    assert told["measured"] == [m.model_dump() for m in limits.measured]
    assert told["bundle"] == "synthetic 1.0.0"
    assert bundle.model_card().count("## Images that get no advice") == 1
    engine = Engine(bundle, variant="fp32", provider="cpu", threads=1)
    known = bundle.canary_outputs()[FEATURES][0]
    (answer,) = engine.run(engine.canary_frame[None])
    assert answer.features == pytest.approx(known, abs=1e-4)


def test_a_bundle_without_limits_gets_them_and_keeps_the_rest(
    small_experiment: SmallExperiment, older: Bundle, tmp_path: Path
) -> None:
    out, figures = tmp_path / "new", tmp_path / "figures.json"
    result = abstention(
        small_experiment, older.folder, out, "--photographs", "photographs", "--figures", str(figures), "--purpose", "x"
    )
    assert result.exit_code == 0, result.output
    new, first = load_bundle(out), load_bundle(small_experiment.bundle)
    manifest, limits = new.manifest, new.manifest.abstention
    assert limits is not None
    assert first.manifest.abstention is not None
    assert manifest.version == "1.1.0"
    assert new.model_card().startswith("# synthetic 1.1.0\n")
    changed = {"version", "abstention", "files", "variants"}
    assert manifest.model_dump(exclude=changed) == older.manifest.model_dump(exclude=changed)
    for variant, same, before in zip(manifest.variants, first.manifest.variants, older.manifest.variants, strict=True):
        assert variant.model_copy(update={"canary_prediction": before.canary_prediction}) == before
        assert variant.canary_prediction is not None
        assert variant.canary_prediction.quality is not None
        assert same.canary_prediction is not None
        assert differences(variant.canary_prediction, same.canary_prediction, tolerance=1e-3) == []
    assert manifest.outputs == first.manifest.outputs
    # As export had fitted them.
    for name in ("max_unfamiliarity", "min_sharpness", "max_dark_share", "max_bright_share", "min_lesion_fraction"):
        assert getattr(limits, name) == pytest.approx(getattr(first.manifest.abstention, name), rel=1e-4), name
    assert manifest.files.keys() - older.manifest.files.keys() == {FAMILIARITY_NAME}
    sets = ["isic2017-validation", "photographs", "isic2017-test"]
    assert [m.measured_on for m in limits.measured if m.variant == "fp32"] == sets
    (entry,) = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert (entry["set"], entry["purpose"]) == ("isic2017-test", "x")
    told = json.loads(figures.read_text())
    assert told["measured"] == [m.model_dump() for m in limits.measured]
    assert str(tmp_path) not in told["command"]
    again = tmp_path / "again"
    result = abstention(small_experiment, out, again, "--clinical", "photographs")
    assert result.exit_code == 0, result.output
    fitted = load_bundle(again)
    assert fitted.manifest.abstention is not None
    assert fitted.manifest.abstention.fitted_on == "isic2017-train (24), clinical photographs (1)"
    assert {m.measured_on for m in fitted.manifest.abstention.measured} == {"isic2017-validation"}
    assert fitted.feature_distance().photographs_D is not None  # type: ignore[union-attr]
    assert fitted.model_card().count("## Images that get no advice") == 1


def test_half_of_one_photograph_is_none(small_experiment: SmallExperiment, older: Bundle, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small_experiment.data, tmp_path / "data"))
    sorted((data / "photographs").iterdir())[0].unlink()
    arguments = ("--clinical", "photographs", "--data", str(data))
    result = abstention(small_experiment, older.folder, tmp_path / "new", *arguments)
    assert result.exit_code == 1
    assert "holds one photograph" in " ".join(result.output.split())
    assert not (tmp_path / "new").exists()


def test_graphs_without_features_are_refused(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    whole = load_bundle(small_experiment.bundle)
    outputs = [spec for spec in whole.manifest.outputs if spec.name != FEATURES]
    result = abstention(small_experiment, without(whole, tmp_path / "old", outputs=outputs).folder, tmp_path / "new")
    assert result.exit_code == 1
    assert "export its run again" in " ".join(result.output.split())
    assert not (tmp_path / "new").exists()


def test_limits_leave_out_few_training_pictures(small_experiment: SmallExperiment) -> None:
    bundle = load_bundle(small_experiment.bundle)
    train, _ = small_experiment.experiment().training_sets()
    frames = np.asarray(train.frames)
    found = run_onnx(bundle.path(bundle.variant("fp32").file), frames, bundle.manifest.outputs, batch=1)
    gaussian, limits = bundle.feature_distance(), bundle.manifest.abstention
    assert gaussian is not None
    assert limits is not None
    reasons = exceeded_limits(
        frames, found, gaussian, fit_limits(frames, found, gaussian, limits.max_unfamiliarity, fitted_on="")
    )
    exceeded: list[str] = [reason for of_one in reasons for reason in of_one]
    assert "not_dermoscopy" not in exceeded
    assert all(exceeded.count(reason) <= 1 for reason in ABSTAINS), "a four hundredth of 24 images is at most one"


def test_no_picture_is_judged_by_what_was_fitted_to_it() -> None:
    """One that is unlike all others is far from them; a Gaussian that was fitted to it as well would find it near."""
    features = np.random.default_rng(0).normal(9.0, 1.0, (40, 2, 8)).astype(np.float32)
    features[7] *= 4.0
    together = fit_feature_distance(features, num_components=NUM_COMPONENTS).of(features)
    assert cross_fitted_distances(features).argmax() == 7
    assert cross_fitted_distances(features)[7] > 5 * together[7]


def test_other_training_pictures_are_refused(small_experiment: SmallExperiment, older: Bundle, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small_experiment.data, tmp_path / "data"))
    picture = sorted((data / "isic2017" / "ISIC-2017_Training_Data").glob("*.jpg"))[0]
    Image.new("RGB", (96, 96), "red").save(picture)
    result = abstention(small_experiment, older.folder, tmp_path / "new", "--data", str(data))
    assert result.exit_code == 1
    assert "other images than those of isic2017-train" in result.output
    assert not (tmp_path / "new").exists()
