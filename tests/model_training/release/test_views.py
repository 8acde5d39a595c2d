"""The mean over several views: what it is compared with, and that a difference is found where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from model_training.arrays import Frames
from model_training.cli.main import app
from model_training.data.artefacts import STORAGE, changed_frames
from model_training.release.parity import run_onnx
from model_training.release.views import CHANGES, VIEWS, paired_difference
from service.bundle import load_bundle
from tests.model_training.conftest import SmallExperiment


def test_both_are_measured_on_the_same_changes(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    figures, folders = tmp_path / "views.json", ["--data", str(small_experiment.data)]
    folders += ["--cache", str(small_experiment.cache)]
    result = CliRunner().invoke(app, ["views", str(small_experiment.bundle), "--figures", str(figures), *folders])
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())
    assert [row["change"] for row in found["changes"]] == list(CHANGES)
    assert len(found["views"]) == len(VIEWS) + 1
    bundle, images = load_bundle(small_experiment.bundle), small_experiment.experiment().validation_set()
    specs = bundle.manifest.outputs[:1]

    def risks(frames: Frames) -> NDArray[np.float32]:
        views = [frames, *(changed_frames(frames, view, jpeg_quality=None) for view in VIEWS.values())]
        return np.stack([run_onnx(bundle.path("cin-fp32.onnx"), v, specs, 1)["probabilities"][:, 0] for v in views])

    before = risks(np.asarray(images.frames))
    after = risks(changed_frames(images.frames, STORAGE["JPEG 60"], jpeg_quality=None))
    row = next(row for row in found["changes"] if row["change"] == "JPEG 60")
    assert row["mean_move_one_view"] == pytest.approx(np.abs(after - before)[0].mean(), rel=1e-4)
    assert row["mean_move_all_views"] == pytest.approx(np.abs(after.mean(0) - before.mean(0)).mean(), rel=1e-4)


def test_a_difference_is_paired() -> None:
    before = np.arange(200) < 40
    after = np.arange(200) < 20
    gain = paired_difference(before, after)
    assert gain["value"] == pytest.approx(-0.1)
    assert -0.16 < gain["low"] < gain["high"] < -0.05
    none = paired_difference(before, before)
    assert (none["low"], none["value"], none["high"]) == (0.0, 0.0, 0.0)
