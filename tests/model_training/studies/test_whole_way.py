"""The whole way on a small official layout: from a mirror to the paper's tables and to an answer of the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.studies.paper_tables import TABLES
from service.app import create_app
from service.settings import Settings
from tests.model_training.data.download.challenge import publish
from tests.model_training.data.download.server import running_server
from tests.model_training.studies.small_tables import SmallTables
from tests.synthetic import write_isic2016, write_isic2017


def cin_train(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{arguments}: {result.output}"
    return result.output


@pytest.mark.usefixtures("hurried")
def test_from_a_mirror_to_tables_and_an_answer(tmp_path: Path) -> None:
    original, data, run, bundle = (tmp_path / name for name in ("original", "data", "run", "bundle"))
    write_isic2017(original, size=48, train=16, validation=9, test=12, seed=1)
    write_isic2016(original, size=48, train=20, test=8, seed=2)
    with running_server() as server:
        for challenge in ("isic2016", "isic2017"):
            publish(server, challenge, original)
            # Neither sums nor numbers are the official ones.
            cin_train("download", challenge, "--data", data, "--base-url", server.url, "--accept-changed")
    found = cin_train("audit", "--data", data, "--out", tmp_path / "audit.json")
    assert "isic2016-train" in found

    folders = ("--data", data, "--cache", tmp_path / "cache")
    ledger = ("--ledger", tmp_path / "ledger.jsonl")
    small = [part for setting in SmallTables.settings for part in ("--set", setting)]
    cin_train("prepare", *small, *folders)
    cin_train("area", "--run", run, *small, *folders)
    cin_train("recognition", "--run", run, *folders)
    cin_train("evaluate", "--run", run, *folders, *ledger)
    cin_train("evaluate", "--run", run, "--split", "test", "--purpose=a test", *folders, *ledger)
    cin_train("export", "--run", run, "--out", bundle, "--dirty", *folders, *ledger)

    results = tmp_path / "results"
    cin_train(*("reproduce", "--seeds=1", "--runs", tmp_path / "runs", "--results", results), *small, *folders, *ledger)
    trials = (results / "trials").glob("*/*/seed-0/trial.json")
    read = {json.loads(line)["purpose"] for line in (tmp_path / "ledger.jsonl").read_text().splitlines()}
    assert read > {str(trial.parent.relative_to(results / "trials")) for trial in trials}
    for number, table in TABLES.items():
        rows = json.loads((results / f"table-{number}.json").read_text())["rows"]
        reproduced = [row["name"] for row in rows if row["source"] == "ours"]
        assert reproduced == [row.name for row in table.rows if row.system is not None]
        assert (results / f"table-{number}.md").is_file()

    with TestClient(create_app(Settings(bundle=bundle, inference_threads=1, variant="fp32"))) as client:
        picture = next((data / "isic2017" / "ISIC-2017_Test_v2_Data").glob("*.jpg"))
        headers = {"content-type": "image/jpeg"}
        answer = client.post("/predict?include=raw", content=picture.read_bytes(), headers=headers).json()
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert answer["model"]["name"] == "cin-isic2017"
