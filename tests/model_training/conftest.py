"""One small experiment, run through the command line from images to bundle, shared by the tests that look at it."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.config import load_config
from model_training.evaluation.calibration import operating_points
from model_training.evaluation.predictions import read_predictions
from model_training.release import graph
from model_training.release.deployed import DeployedCIN
from model_training.training.experiment import Experiment
from service.bundle import OperatingPoint
from tests.model_training.narrow import narrow_networks
from tests.synthetic import write_isic2017

SETTINGS = [
    "start=none",
    "precision=32-true",
    "data.frame_size=96",
    "network.size=64",
    "network.area_size=32",
    "network.canonical_orientation=true",
    "area.epochs=6",
    "area.batch_size=8",
    "area.optimiser=adamw",
    "area.learning_rate=3e-3",
    "recognition.epochs=1",
    "recognition.batch_size=8",
    "recognition.optimiser=adamw",
    "evaluation.prevalence=training",
]


@dataclass(frozen=True)
class SmallExperiment:
    """Where everything is."""

    data: Path
    cache: Path
    run: Path
    bundle: Path
    ledger: Path

    def command(self, name: str, *arguments: str, run: Path | None = None) -> Result:
        """Run a ``cin-train`` command on this experiment."""
        options = ["--data", str(self.data), "--cache", str(self.cache)]
        if name != "prepare":
            options += ["--run", str(run or self.run)]
        if name == "export":
            options.append("--dirty")  # tests come before the commit
        assignments = [part for setting in SETTINGS for part in ("--set", setting)]
        return CliRunner().invoke(app, [name, *assignments, *options, *arguments])

    def points_on_validation(self) -> list[OperatingPoint]:
        """The operating points with the rates of the set that chose them."""
        folder, classes = self.run / "evaluation" / "validation", ("melanoma", "seborrheic_keratosis", "nevus")
        scores, truth = (
            read_predictions(folder / f"{name}.csv", classes)[1][:, 0] for name in ("predictions", "truth")
        )
        return operating_points(truth == 1, scores, measured_on="validation")

    def experiment(self) -> Experiment:
        """The same, as the commands see it."""
        return Experiment(load_config(None, SETTINGS), self.data, self.cache, self.run, Console(quiet=True))


@pytest.fixture(scope="module", autouse=True)
def _narrow_unless_it_matters(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of the networks themselves, and with ImageNet's weights, have the real widths."""
    real = request.path.parent.name == "network" or getattr(request.module, "REAL_WIDTHS", False)
    with nullcontext() if real else narrow_networks():
        yield


@pytest.fixture(scope="session", autouse=True)
def _export_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PyTorch's exporter takes half a minute: an equal network gets the graph that was written first."""
    folder, export = tmp_path_factory.mktemp("graphs"), graph.export_graph

    def export_or_copy(network: DeployedCIN, path: Path, **arguments: Any) -> None:
        content = io.BytesIO()
        torch.save((network, arguments), content)
        written = folder / hashlib.sha256(content.getbuffer()).hexdigest()
        if not written.exists():
            # pytest listens to it as well, and PyTorch then writes down every step of an export.
            logging.getLogger("torch.__trace").handlers.clear()
            export(network, written, **arguments)
        shutil.copy(written, path)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("graph", "export"):
            patch.setattr(f"model_training.release.{module}.export_graph", export_or_copy)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_repetitions() -> Iterator[None]:
    """Deletion and insertion take nine tenths of an evaluation, resampling most of a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_training.evaluation.module_report.NUM_FAITHFULNESS", 3)
        patch.setattr("model_training.reporting.judgement.NUM_RESAMPLES", 200)
        yield


@pytest.fixture(scope="session")
def small_experiment(tmp_path_factory: pytest.TempPathFactory) -> SmallExperiment:
    """All five commands, in order, on synthetic images."""
    root = tmp_path_factory.mktemp("experiment")
    small = SmallExperiment(root / "data", root / "cache", root / "run", root / "bundle", root / "ledger.jsonl")
    write_isic2017(small.data, size=96, train=24, validation=18, test=12, seed=1)
    photographs = small.data / "photographs"
    photographs.mkdir()
    for colour in ("blue", "lime"):
        Image.new("RGB", (200, 100), colour).save(photographs / f"{colour}.png")
    counted = ("--photographs", photographs.name, "--figures", str(root / "limits.json"))
    for name, *arguments in (
        ("prepare",),
        ("area",),
        ("recognition",),
        ("evaluate",),
        ("evaluate", "--split", "test", "--purpose=a test", "--ledger", str(small.ledger)),
        (
            "export",
            "--out",
            str(small.bundle),
            "--name",
            "synthetic",
            "--ledger",
            str(small.ledger),
            *counted,
        ),
    ):
        with narrow_networks():
            result = small.command(name, *arguments)
        assert result.exit_code == 0, f"{name}: {result.output}"
    return small
