"""The paper's tables, rerun on small synthetic sets."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner, Result

from model_training.cli.main import app
from model_training.config import load_config
from model_training.studies.paper_tables import TABLES
from model_training.studies.reproduce import table_trials
from model_training.studies.trials import Trial
from model_training.training.experiment import Experiment
from tests.model_training.conftest import SETTINGS
from tests.synthetic import write_isic2016, write_isic2017


class SmallTables:
    """The command that reruns tables, on synthetic sets below ``root``."""

    settings = (*SETTINGS, "data.frame_size=48", "network.size=32", "area.epochs=1")

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, root / "data"
        write_isic2017(self.data, size=48, train=16, validation=9, test=12, seed=1)
        write_isic2016(self.data, size=48, train=20, test=8, seed=2)

    def command(self, name: str, *arguments: str) -> Result:
        """Run a ``cin-train`` command on these sets; later options replace ours."""
        options = [f"--{option}={self.root / option}" for option in ("data", "cache", "runs", "results")]
        assignments = [part for setting in self.settings for part in ("--set", setting)]
        if name == "reproduce":
            options.append(f"--ledger={self.root / 'ledger.jsonl'}")
        return CliRunner().invoke(app, [name, *assignments, *options, *arguments])

    def trial(self, system: str) -> Trial:
        """The first seed's trial of Table 1, as the command makes it."""
        data, cache, runs = (self.root / name for name in ("data", "cache", "runs"))
        template = Experiment(load_config(None), data, cache, runs, Console(quiet=True))
        results = self.root / "results" / "trials"
        trials = table_trials([TABLES[1]], template, results, config=None, assignments=self.settings, num_seeds=1)
        return next(trial for trial in trials if trial.variant == system)

    def table(self, number: int) -> dict[str, dict[str, object]]:
        """The rows of a table that was written, by name."""
        result = json.loads((self.root / "results" / f"table-{number}.json").read_text())
        return {row["name"]: row for row in result["rows"]}
