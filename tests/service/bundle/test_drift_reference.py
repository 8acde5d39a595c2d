"""The reference of the drift index: measured, written into a bundle, and what the shipped one says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_training.data.isic import read_set
from service.bundle import Bundle, load_bundle, measure_reference
from service.bundle.drift_reference import PROBABILITY_EDGES
from service.cli.main import app
from service.inference.engine import Engine
from tests.service.tiny_bundle import dark_square, picture_bytes


def literal_shares(values: np.ndarray, edges: list[float]) -> list[float]:
    """One value after the other into its interval, closed above; the first holds 0 as well."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[next(i for i in range(len(counts)) if value <= edges[i + 1])] += 1
    return [count / len(values) for count in counts]


@pytest.mark.parametrize("shape", [(0.3, 0.3, 0.3), (5.0, 5.0, 5.0), (0.05, 1.0, 20.0)])
def test_every_interval_holds_a_tenth(shape: tuple[float, ...]) -> None:
    probabilities = np.random.default_rng(0).dirichlet(shape, 400)
    reference = measure_reference(probabilities, ["a", "b", "c"], measured_on="noise")
    assert (reference.num_pictures, reference.measured_on) == (400, "noise")
    for column, histogram in zip(probabilities.T, reference.probabilities.values(), strict=True):
        assert set(histogram.edges) <= set(PROBABILITY_EDGES)
        assert histogram.shares == pytest.approx(literal_shares(column, histogram.edges))
        assert min(histogram.shares) >= 0.1 - 1e-12


@pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
def test_what_never_varies_is_one_interval(value: float) -> None:
    reference = measure_reference(np.full((9, 1), value), ["a"], measured_on="a constant")
    assert reference.probabilities["a"].edges == [0.0, 1.0]
    assert reference.probabilities["a"].shares == [1.0]


def test_a_value_on_an_edge_is_below_it() -> None:
    values = np.repeat([0.05, 0.5, 1.0], 10)[:, None]
    reference = measure_reference(values, ["a"], measured_on="edges")
    assert reference.probabilities["a"].edges == [0.0, 0.05, 0.5, 1.0]


def test_the_command_changes_the_reference_and_nothing_else(folder: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(picture_bytes(dark_square()))
    command = ["bundle", "reference", str(folder), str(tmp_path / "pictures"), "--measured-on", "three squares"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    after = load_bundle(folder)
    assert after.sha256 in result.output
    assert after.manifest.model_copy(update={"reference": tiny_bundle.manifest.reference}) == tiny_bundle.manifest
    assert after.manifest.reference is not None
    assert (after.manifest.reference.measured_on, after.manifest.reference.num_pictures) == ("three squares", 3)


def test_the_command_leaves_a_bundle_alone_when_a_picture_is_none(
    folder: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    result = CliRunner().invoke(
        app, ["bundle", "reference", str(folder), str(tmp_path / "broken.png"), "--measured-on", "x"]
    )
    assert result.exit_code == 1
    assert "this is text" in result.output
    assert load_bundle(folder).sha256 == tiny_bundle.sha256


@pytest.mark.data
def test_the_shipped_reference_is_what_its_graph_gives_on_validation(shipped_bundle: Bundle, data_root: Path) -> None:
    reference = shipped_bundle.manifest.reference
    assert reference is not None
    samples = read_set(data_root, reference.measured_on).samples
    engine = Engine(shipped_bundle, variant="fp32", provider="cpu", threads=1)
    frames = [shipped_bundle.read_picture(sample.picture.read_bytes()).frame for sample in samples]
    probabilities = np.array([engine.run(frame[None])[0].probabilities for frame in frames])
    assert len(samples) == reference.num_pictures == 150
    for column, histogram in zip(probabilities.T, reference.probabilities.values(), strict=True):
        shares = literal_shares(column, histogram.edges)
        # A value next to an edge may fall on its other side on another CPU.
        assert histogram.shares == pytest.approx(shares, abs=1.01 / len(samples))
