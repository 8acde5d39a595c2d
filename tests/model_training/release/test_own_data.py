"""Five classes of own images, and another backbone: from a table to an answer of the service, by the documentation."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.evaluation.predictions import read_predictions
from service.app import create_app
from service.bundle import load_bundle
from service.settings import Settings
from tests.documented import commands_of
from tests.paths import REPOSITORY
from tests.synthetic import FIVE_CLASSES, write_table

OWN = REPOSITORY / "model_training/configs/own.toml"
SMALL = {
    "start": "none",
    "precision": "32-true",
    "data.tables.clinic": "clinic5/clinic5.csv",
    "data.frame_size": "64",
    "network.size": "32",
    "network.features": "efficientnet-lite0",
    "network.area_size": "32",
    "area.epochs": "2",
    "area.batch_size": "10",
    "recognition.epochs": "2",
    "recognition.batch_size": "10",
}


def test_five_classes_from_a_table_to_an_answer(tmp_path: Path) -> None:
    data, run, bundle, ledger = (tmp_path / name for name in ("data", "run", "bundle", "ledger.jsonl"))
    table = write_table(data, "clinic5", size=64, splits={"train": 30, "validation": 20, "test": 20}, seed=0)
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    places = {"clinic.toml": OWN, "runs/clinic": run, "runs/clinic/report": tmp_path / "report"}
    places["bundles/clinic"] = bundle
    commands = [command for command in commands_of("train") if "clinic" in command]
    assert len(commands) == 7
    for command in commands:
        name, *words = [str(places.get(word, word)) for word in shlex.split(command)[1:]]
        words += ["--data", str(data), "--cache", str(tmp_path / "cache")]
        words += settings if "--config" in words else []  # the others read what the run recorded
        words += ["--ledger", str(ledger)] if name in ("evaluate", "export") else []
        words += ["--dirty"] if name == "export" else []
        result = CliRunner().invoke(app, [name, *words])
        assert result.exit_code == 0, f"{name}: {result.output}"

    # The figures: one for every class, and the rates of lesions whose role is known.
    figures = json.loads((tmp_path / "report" / "figures.json").read_text())["sets"]["clinic-test"]
    assert set(figures["discrimination"]) == set(FIVE_CLASSES)
    _, truth = read_predictions(run / "evaluation/test/truth.csv", FIVE_CLASSES)
    assert truth.sum(axis=0).tolist() == [4] * 5
    (point, *_) = figures["operating_points"]
    assert (point["sensitivity"]["value"] * 8) % 1 == pytest.approx(0, abs=1e-9), "of eight malignant ones"
    assert (point["specificity"]["value"] * 8) % 1 == pytest.approx(0, abs=1e-9), "of eight benign ones, without others"
    assert "isic" not in (tmp_path / "report" / "CLEAR_DERM.md").read_text().lower().replace("arxiv", "")

    manifest = load_bundle(bundle).manifest
    assert [(c.name, c.role) for c in manifest.classes] == list(
        zip(FIVE_CLASSES, ("malignant", "malignant", "benign", "benign", "unknown"), strict=True)
    )
    assert (manifest.name, manifest.licence) == ("cin-clinic", "All rights reserved")
    card = load_bundle(bundle).model_card()
    assert "challenge sets" not in card
    assert "EfficientNet-Lite0 features in two branches" in card
    assert "Five diagnoses: melanoma, basal cell carcinoma, seborrheic keratosis, nevus, other lesion." in card
    assert "squamous cell carcinoma" in card, "it is not among them"
    assert "such as basal cell carcinoma" not in card
    # Nothing of the owner's files or names is in the bundle, but for pixels.
    with table.open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    for path in bundle.iterdir():
        assert not any(id.encode() in path.read_bytes() for id in ids), path.name
    with Image.open(bundle / manifest.canary.picture) as canary:
        assert canary.size == (64, 64)

    settings_of_service = Settings(bundle=bundle, inference_threads=1, variant="fp32")
    with TestClient(create_app(settings_of_service)) as client:
        described = client.get("/v1/model").json()["manifest"]["classes"]
        assert [each["role"] for each in described][-1] == "unknown"
        picture = next((data / "clinic5/pictures").glob("case-test*.jpg"))
        headers = {"content-type": "image/jpeg"}
        answer = client.post("/predict?include=raw", content=picture.read_bytes(), headers=headers).json()
        assert list(answer["probabilities"]) == list(FIVE_CLASSES)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        decision, shares = answer["decision"], answer["probabilities"]
        risk = shares["melanoma"] + shares["basal_cell_carcinoma"]
        assert decision["malignant_probability"] == pytest.approx(risk, abs=1e-5)
        assert client.get("/readyz").status_code == 200
