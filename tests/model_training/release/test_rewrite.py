"""A report that is written again from kept answers is the one that was exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from service.bundle import load_bundle
from tests.model_training.conftest import SmallExperiment


@pytest.fixture
def answers(small_experiment: SmallExperiment, tmp_path: Path) -> Path:
    """The answers of the small experiment as a release keeps them."""
    folder = tmp_path / "answers"
    folder.mkdir()
    for split in ("validation", "test"):
        evaluated = small_experiment.run / "evaluation" / split
        shutil.copy(evaluated / "report.json", folder / f"{split}.json")
        shutil.copy(evaluated / "branches.csv", folder / f"{split}-branches.csv")
    return folder


def rewrite(small: SmallExperiment, answers: Path, out: Path) -> Result:
    folders = ["--data", str(small.data), "--cache", str(small.cache)]
    return CliRunner().invoke(
        app, ["rewrite", str(small.bundle), "--answers", str(answers), "--out", str(out), *folders]
    )


def test_it_is_what_export_wrote(small_experiment: SmallExperiment, answers: Path, tmp_path: Path) -> None:
    result = rewrite(small_experiment, answers, tmp_path / "again")
    assert result.exit_code == 0, result.output
    before, after = load_bundle(small_experiment.bundle), load_bundle(tmp_path / "again")
    assert after.model_card() == before.model_card()
    changed = {name for name, digest in after.manifest.files.items() if before.manifest.files[name] != digest}
    assert changed == {"figures.json"}, "which names this command as well"
    was, found = (json.loads(bundle.path("figures.json").read_text()) for bundle in (before, after))
    assert found.pop("rewritten_by").startswith("cin-train")
    assert found == was
    fields = {"files", "variants"}  # the canary's prediction may differ in its last digit
    assert after.manifest.model_dump(exclude=fields) == before.manifest.model_dump(exclude=fields)


def test_answers_of_another_model_are_refused(small_experiment: SmallExperiment, answers: Path, tmp_path: Path) -> None:
    path = answers / "validation-branches.csv"
    header, *rows = path.read_text().splitlines()
    shuffled = np.random.default_rng(0).permutation(len(rows))
    values = [rows[n].partition(",")[2] for n in shuffled]
    path.write_text("\n".join([header, *(f"{row.partition(',')[0]},{v}" for row, v in zip(rows, values, strict=True))]))
    result = rewrite(small_experiment, answers, tmp_path / "again")
    assert result.exit_code == 1
    assert "they are not the answers of this model" in result.output
    assert not (tmp_path / "again").exists()


def test_answers_to_other_images_are_refused(small_experiment: SmallExperiment, answers: Path, tmp_path: Path) -> None:
    about = json.loads((answers / "test.json").read_text())
    (answers / "test.json").write_text(json.dumps({**about, "digest": "0" * 64}))
    result = rewrite(small_experiment, answers, tmp_path / "again")
    assert result.exit_code == 1
    assert "is about other images" in result.output
