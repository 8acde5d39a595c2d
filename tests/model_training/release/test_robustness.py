"""``cin-train robustness``: how far advice moves when an image changes and the lesion does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.data.artefacts import ARTEFACTS, STORAGE, TURNS
from model_training.release import robustness
from service.bundle import load_bundle
from tests.model_training.conftest import SmallExperiment


def test_every_change_of_the_image_is_measured(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    figures = tmp_path / "robustness.json"
    options = ["--data", str(small_experiment.data), "--cache", str(small_experiment.cache)]
    options += ["--out", str(tmp_path / "bundle")]
    result = CliRunner().invoke(app, ["robustness", str(small_experiment.bundle), "--figures", str(figures), *options])
    assert result.exit_code == 0, result.output
    rows = {row["change"]: row for row in json.loads(figures.read_text())["changes"]}
    assert {*TURNS, *STORAGE, *ARTEFACTS} < rows.keys()

    bundle = load_bundle(tmp_path / "bundle")
    told = bundle.manifest.robustness
    assert told is not None
    assert {name: share.model_dump() for name, share in told.other_advice.items()} == {
        name: rows[name]["changed"] for name in ("any turn", *STORAGE, *ARTEFACTS)
    }
    assert f"any turn {100 * rows['any turn']['changed']['value']:.0f}" in bundle.model_card()

    limits, point = bundle.manifest.abstention, small_experiment.points_on_validation()[0]
    assert limits is not None
    (unchanged,) = [m for m in limits.measured if (m.measured_on, m.variant) == ("isic2017-validation", "fp32")]
    assert rows["none"]["withheld"] == unchanged.abstained.model_dump()
    assert rows["none"]["sensitivity"]["value"] == pytest.approx(point.sensitivity.value)
    assert rows["none"]["specificity"]["value"] == pytest.approx(point.specificity.value)
    # Advice that changes at one turn changes at any; dark and blurred images get none.
    assert rows["any turn"]["changed"]["value"] >= max(rows[turn]["changed"]["value"] for turn in TURNS)
    assert rows["light x 0.2"]["withheld"]["value"] == 1.0
    assert rows["light x 0.2"]["changed"]["value"] > rows["JPEG 95"]["changed"]["value"]
    assert rows["blur 6 of 256 pixels"]["withheld"]["value"] > rows["none"]["withheld"]["value"]
    assert rows["light x 0.5"]["mean_difference"] > rows["light -5 %"]["mean_difference"] > 0


def test_out_of_fold_each_fold_answers_the_images_it_holds_out(
    small_experiment: SmallExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, bundle = tmp_path / "run", load_bundle(small_experiment.bundle)

    def measure() -> tuple[str, list[dict[str, object]]]:
        figures = tmp_path / "robustness.json"
        arguments = (str(small_experiment.bundle), "--figures", str(figures))
        result = small_experiment.command("robustness-out-of-fold", *arguments, run=run)
        return result.output, json.loads(figures.read_text())["changes"] if result.exit_code == 0 else []

    assert "frozen_blocks is below 6" in " ".join(measure()[0].split())
    monkeypatch.setattr(robustness, "BLOCKS_OF_FEATURES", 0)
    assert "no fold of" in measure()[0]

    # With the bundle's own network in place of each fold's, they say what the bundle says of these images.
    experiment = small_experiment.experiment()
    for fold in (0, 3):
        folder = run / "folds" / f"fold-{fold + 1}"
        for stage in ("area", "recognition"):
            shutil.copytree(small_experiment.run / stage, folder / stage)
            trained = folder / stage / "config.json"
            trained.write_text(trained.read_text().replace('"fold": null', f'"fold": {fold}'))
    held_out = [experiment.without_fold(fold).validation_set() for fold in (0, 3)]
    own = [robustness.own_part(bundle, images) for images in held_out]
    changes = {name: robustness.STEADY[name] for name in ("JPEG 60", "12 hairs")}
    monkeypatch.setattr("model_training.cli.abstention.STEADY", changes)
    output, rows = measure()
    expected = robustness.measure_robustness(bundle, own, measured_on="held out", changes=changes)
    assert [row["change"] for row in rows] == [robustness.UNCHANGED, robustness.ANY_TURN, *changes], output
    assert rows == [{**row, **_about_equal(row)} for row in expected]

    with monkeypatch.context() as patch:
        patch.setattr(robustness, "prevalence_of", lambda _: {"melanoma": 1.0})
        assert "another prevalence" in " ".join(measure()[0].split())

    settings = run / "folds" / "fold-1" / "recognition" / "config.json"
    settings.write_text(settings.read_text().replace('"fold": 0', '"fold": 1'))
    assert "trained with another configuration" in measure()[0]


def _about_equal(row: dict[str, object]) -> dict[str, object]:
    move = row.get("mean_difference")
    return {} if move is None else {"mean_difference": pytest.approx(move, abs=1e-5)}
