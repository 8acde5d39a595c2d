"""``cin predict`` on an image that gets no advice: no figure of it anywhere, unless raw figures are asked for."""

from __future__ import annotations

import csv
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from service.bundle import Bundle
from service.prediction.decision import REASONS
from tests.service.cli.conftest import cin
from tests.service.tiny_bundle import CLASSES, picture_bytes


@pytest.fixture
def examining(environment: dict[str, str], examining_bundle: Bundle) -> dict[str, str]:
    """The environment of a bundle that may abstain."""
    return {**environment, "CIN_BUNDLE": str(examining_bundle.folder)}


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    """An image that is too dark."""
    path = tmp_path / "dark.png"
    path.write_bytes(picture_bytes(Image.new("RGB", (256, 256), (4, 2, 2))))
    return path


def test_the_terminal_shows_no_figure(examining: dict[str, str], examining_bundle: Bundle, dark: Path) -> None:
    result = cin("predict", dark, **examining)
    assert result.exit_code == 0, result.stderr
    row = result.stdout.splitlines()[1].removeprefix(str(dark))
    assert "no assessment" in row
    assert not any(character.isdigit() for character in row)
    assert not any(each.label in row for each in examining_bundle.manifest.classes)


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
    shown = cin("predict", dark, "--raw", **examining)
    assert "no assessment (research)" in shown.stdout
    assert f"too_dark: {REASONS['too_dark']}" in shown.stderr
    assert "too_bright: " not in shown.stderr


def test_an_operating_point_on_the_command_line(environment: dict[str, str], picture: Path) -> None:
    result = cin("predict", "--json", "--operating-point", "high-sensitivity", picture, **environment)
    assert json.loads(result.stdout)["decision"]["operating_point"] == "high-sensitivity"
    unknown = cin("predict", "--operating-point", "none", picture, **environment)
    assert unknown.exit_code == 1
    assert "balanced" in unknown.stderr


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_prevalence_on_the_command_line(
    environment: dict[str, str], picture: Path, tmp_path: Path, suffix: str
) -> None:
    decision = json.loads(cin("predict", "--json", "--prevalence", "0.05", picture, **environment).stdout)["decision"]
    assert decision["prevalence"] == 0.05
    assert decision["threshold"] == pytest.approx(2 / 21)  # 0.4 where one in four is malignant, by hand
    out = tmp_path / f"results.{suffix}"
    for _ in range(2):
        assert cin("predict", picture, "--out", out, "--prevalence", "0.05", **environment).exit_code == 0
    before = out.read_bytes()
    other = cin("predict", picture, "--out", out, **environment)
    assert (other.exit_code, out.read_bytes()) == (1, before)
    assert "prevalence (--prevalence) 0.05, not 0.25" in other.stderr
    assert cin("predict", picture, "--prevalence", "0", **environment).exit_code == 2


@pytest.mark.parametrize(("first", "then"), [((), ("--raw",)), (("--raw",), ())])
def test_one_file_has_answers_of_one_kind(
    examining: dict[str, str], dark: Path, tmp_path: Path, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    for suffix in ("csv", "jsonl"):
        out = tmp_path / f"results.{suffix}"
        assert cin("predict", dark, "--out", out, *first, **examining).exit_code == 0
        before = out.read_bytes()
        other = cin("predict", dark, "--out", out, *then, **examining)
        assert (other.exit_code, out.read_bytes()) == (1, before)
        assert "--raw" in other.stderr


def test_answers_of_an_earlier_version_are_not_continued(
    environment: dict[str, str], picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.jsonl"
    assert cin("predict", picture, "--out", out, **environment).exit_code == 0
    row = json.loads(out.read_text())
    row["decision"]["status"] = "clear"
    out.write_text(json.dumps(row) + "\n")
    again = cin("predict", picture, "--out", out, **environment)
    assert again.exit_code == 1
    assert "earlier version" in again.stderr
    assert json.loads(out.read_text()) == row


def test_what_the_terminal_says_of_how_good_it_is(environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    for options in ((), ("--out", tmp_path / "results.csv")):
        said = cin("predict", picture, *options, **environment).stderr
        assert "sensitivity 0.90 (0.80 to 0.95)" in said
        assert "not a medical device" in said


def test_the_version_and_a_port_that_is_none() -> None:
    assert cin("--version").stdout == f"cin {version('clinical-inspired-network')}\n"
    refused = cin("serve", "--port", "99999")
    assert refused.exit_code == 2
    assert "--port" in refused.stderr
    assert "CIN_PORT" not in refused.stderr
