"""``cin predict`` on a picture that gets no advice: no figure of it anywhere, unless raw figures are asked for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from service.bundle import Bundle
from tests.service.cli.conftest import cin
from tests.service.tiny_bundle import CLASSES, picture_bytes


@pytest.fixture
def examining(environment: dict[str, str], examining_bundle: Bundle) -> dict[str, str]:
    """The environment of a bundle that may abstain."""
    return {**environment, "CIN_BUNDLE": str(examining_bundle.folder)}


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    """A picture that is too dark."""
    path = tmp_path / "dark.png"
    path.write_bytes(picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2))))
    return path


def test_the_terminal_shows_no_figure(examining: dict[str, str], dark: Path) -> None:
    result = cin("predict", dark, **examining)
    assert result.exit_code == 0, result.stderr
    row = result.stdout.splitlines()[1].removeprefix(str(dark))
    assert "no assessment" in row
    assert not any(character.isdigit() for character in row)
    assert not any(name in row for name in CLASSES)


def test_json_shows_no_figure(examining: dict[str, str], dark: Path, tmp_path: Path) -> None:
    on_terminal = cin("predict", "--json", dark, **examining).stdout
    out = tmp_path / "results.jsonl"
    assert cin("predict", dark, "--out", out, **examining).exit_code == 0
    for line in (on_terminal, out.read_text()):
        row = json.loads(line)
        assert row["decision"]["status"] == "abstained"
        figures = [row[name] for name in ("diagnosis", "probabilities", "branches")]
        assert [*figures, row["decision"]["refer"], row["decision"]["malignant_probability"]] == [None] * 5


def test_a_table_shows_no_figure(examining: dict[str, str], dark: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", dark, "--out", out, **examining).exit_code == 0
    (row,) = csv.DictReader(out.open(newline=""))
    assert row["status"] == "abstained"
    assert [row[name] for name in ("diagnosis", *CLASSES, "malignant_probability", "refer")] == [""] * 6


def test_raw_figures_for_research(examining: dict[str, str], dark: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    assert cin("predict", dark, "--out", out, "--raw", **examining).exit_code == 0
    (row,) = csv.DictReader(out.open(newline=""))
    assert row["diagnosis"] in CLASSES
    assert sum(float(row[name]) for name in CLASSES) == pytest.approx(1, abs=1e-5)
    assert row["refer"] == ""


def test_an_operating_point_on_the_command_line(environment: dict[str, str], picture: Path) -> None:
    result = cin("predict", "--json", "--operating-point", "high-sensitivity", picture, **environment)
    assert json.loads(result.stdout)["decision"]["operating_point"] == "high-sensitivity"
    unknown = cin("predict", "--operating-point", "none", picture, **environment)
    assert unknown.exit_code == 1
    assert "balanced" in unknown.stderr
