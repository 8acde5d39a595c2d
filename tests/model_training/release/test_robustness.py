"""``cin-train robustness``: how far advice moves when an image changes and the lesion does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.data.artefacts import ARTEFACTS, STORAGE, TURNS
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
