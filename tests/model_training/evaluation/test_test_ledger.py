"""The ledger of the test sets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_training.evaluation import evaluate as evaluate_module
from tests.model_training.conftest import SmallExperiment
from tests.paths import REPOSITORY

RECORD = """
import sys
from pathlib import Path
from model_training.evaluation import test_ledger as ledger
from tests.model_training.small_runs import small_frames
ledger.git_commit = lambda: "0" * 40
images = small_frames(1)
for number in range(200):
    ledger.record_reading(
        Path(sys.argv[1]), images, purpose=sys.argv[2], weights_sha256="0", metrics={"number": number}
    )
"""


def test_commands_side_by_side_lose_no_reading(tmp_path: Path) -> None:
    path = tmp_path / "results" / "ledger.jsonl"
    commands = [[sys.executable, "-c", RECORD, str(path), name] for name in ("a", "b", "c")]
    writers = [subprocess.Popen(command, cwd=REPOSITORY) for command in commands]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for name in ("a", "b", "c"):
        numbers = [entry["metrics"]["number"] for entry in entries if entry["purpose"] == name]
        assert numbers == list(range(200))


def test_a_reading_is_recorded_before_its_figures_are_there(
    small_experiment: SmallExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small_experiment.experiment()
    ledger, written = tmp_path / "ledger.jsonl", experiment.evaluation("test") / "predictions.csv"
    before = written.stat().st_mtime_ns

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_module, "write_predictions", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_module.evaluate(experiment, "test", ledger=ledger, purpose="a test")
    assert json.loads(ledger.read_text())["purpose"] == "a test"
    assert written.stat().st_mtime_ns == before


def test_the_test_split_is_read_for_a_purpose(small_experiment: SmallExperiment, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    result = small_experiment.command("evaluate", "--split", "test", "--ledger", str(ledger))
    assert result.exit_code == 1
    assert "--purpose" in result.output
    assert not ledger.exists()
