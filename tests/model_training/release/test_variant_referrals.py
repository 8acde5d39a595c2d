"""Whom the variants of a bundle refer: the shipped one's, held against what the service's engine answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.config import Config, DataConfig
from model_training.data.frames import FrameSet
from model_training.release.variant_referrals import compare_referrals
from model_training.training.experiment import Experiment
from service.bundle import Bundle, is_unsure, load_bundle
from service.inference.engine import Engine
from service.inference.selection import VariantChoice
from service.settings import SHIPPED_BUNDLE
from tests.model_training.conftest import SmallExperiment


def validation(small: SmallExperiment, bundle: Bundle) -> FrameSet:
    data = DataConfig.model_validate(bundle.manifest.provenance.config["recognition"]["data"])
    return Experiment(Config(data=data), small.data, small.cache, Path(), Console(quiet=True)).validation_set()


def with_another_variant(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle with a variant int8 whose first branch has other biases, by as much as rounding might change them."""
    (float32,) = bundle.manifest.variants
    graph = onnx.load(bundle.path(float32.file))
    bias = next(each for each in graph.graph.initializer if each.name == "network.branches.0.classify.0.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) * np.float32(1.005), bias.name))
    shutil.copytree(bundle.folder, folder)
    onnx.save(graph, folder / "cin-int8.onnx")
    other = float32.model_copy(update={"name": "int8", "file": "cin-int8.onnx"})
    manifest = bundle.manifest.model_copy(update={"variants": [float32, other]})
    return bundle.model_copy(update={"folder": folder, "manifest": manifest})


def test_referrals_are_those_of_the_engine(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    bundle = with_another_variant(load_bundle(SHIPPED_BUNDLE), tmp_path / "bundle")
    rule, classes = bundle.manifest.not_sure, bundle.manifest.classes
    pictures = validation(small_experiment, bundle)
    scores, unsure, variants = {}, {}, list[VariantChoice](["fp32", "int8"])
    for name in variants:
        engine = Engine(bundle, variant=name, provider="cpu", threads=1)
        answers = np.array([engine.run(frame[None])[0].probabilities for frame in pictures.frames])
        scores[name], unsure[name] = answers[:, 0], is_unsure(answers, rule, classes)
    # Halfway between what the variants say of one image: that one they refer differently, whatever they do else.
    sure = ~(unsure["fp32"] | unsure["int8"])
    apart = np.where(sure, np.abs(scores["fp32"] - scores["int8"]), 0).argmax()
    threshold = float(scores["fp32"][apart] + scores["int8"][apart]) / 2
    point = bundle.manifest.operating_point().model_copy(update={"threshold": threshold})
    manifest = bundle.manifest.model_copy(update={"operating_points": [point]})
    rows = compare_referrals(bundle.model_copy(update={"manifest": manifest}), pictures)
    assert [row["variant"] for row in rows] == ["fp32", "int8"]
    melanoma = pictures.labels == 0
    for row in rows:
        referred = (scores[row["variant"]] >= threshold) | unsure[row["variant"]]
        assert row["sensitivity"]["value"] == referred[melanoma].mean()
        assert row["specificity"]["value"] == (~referred[~melanoma]).mean()
        assert row["changed"]["value"] == (referred != ((scores["fp32"] >= threshold) | unsure["fp32"])).mean()
    assert rows[0]["changed"]["value"] == 0 < rows[1]["changed"]["value"]


def test_the_command_keeps_every_operating_point(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    figures = tmp_path / "referrals.json"
    options = ["--data", str(small_experiment.data), "--cache", str(small_experiment.cache)]
    result = CliRunner().invoke(app, ["referrals", str(small_experiment.bundle), "--figures", str(figures), *options])
    assert result.exit_code == 0, result.output
    told = json.loads(figures.read_text())
    points = small_experiment.points_on_validation()
    float32 = {row["operating_point"]: row for row in told["referrals"] if row["variant"] == "fp32"}
    assert list(float32) == [point.name for point in points]
    for point in points:
        assert float32[point.name]["sensitivity"] == point.sensitivity.model_dump()
        assert float32[point.name]["specificity"] == point.specificity.model_dump()
    assert (told["set"], told["num_pictures"]) == ("isic2017-validation", 18)
